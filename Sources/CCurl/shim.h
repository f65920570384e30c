// libcurl's variadic functions, as typed ones that Swift can call.
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

static inline CURLcode ccurl_set_long(CURL *handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_large(CURL *handle, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_text(CURL *handle, CURLoption option, const char *value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_pointer(CURL *handle, CURLoption option, void *value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) {
    return curl_easy_setopt(handle, option, value);
}

typedef size_t (*ccurl_data_callback)(char *bytes, size_t size, size_t count, void *context);
typedef int (*ccurl_progress_callback)(
    void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up);

static inline CURLcode ccurl_set_data(CURL *handle, CURLoption option, ccurl_data_callback value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode ccurl_set_progress(CURL *handle, ccurl_progress_callback value) {
    return curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, value);
}

// Marks every packet of a new connection. Where that is not possible the connection is used without.
// A socket of IPv6 takes the first as well, which does nothing for packets of IPv6.
static inline int ccurl_mark(void *tos, curl_socket_t socket, curlsocktype purpose) {
    (void)purpose;
    int value = *(const int *)tos;
    (void)setsockopt(socket, IPPROTO_IP, IP_TOS, &value, sizeof value);
    (void)setsockopt(socket, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof value);
    return CURL_SOCKOPT_OK;
}

// `tos` lives as long as the handle.
static inline CURLcode ccurl_set_tos(CURL *handle, int *tos) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_SOCKOPTFUNCTION, ccurl_mark);
    return code ? code : curl_easy_setopt(handle, CURLOPT_SOCKOPTDATA, tos);
}

static inline CURLcode ccurl_global_init(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }

// http and https only, whatever the version of libcurl.
static inline CURLcode ccurl_limit_protocols(CURL *handle) {
#if LIBCURL_VERSION_NUM >= 0x075500
    return curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    return curl_easy_setopt(handle, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}
