import CCurl
import Glibc
import Synchronization

/// One connection to a server, used by one thread at a time.
///
/// `@unchecked Sendable`: `CurlPool` hands it to one thread, which gives it back when it is done.
final class CurlHandle: @unchecked Sendable {
    /// What to send, ready for the wire.
    struct Transfer {
        var method: S3Request.Method
        var url: String
        /// Lines `Name: value`.
        var headers: [String]
        var body: UnsafeRawBufferPointer?
        var target: UnsafeMutableRawBufferPointer?
        var timeoutMs: Int
        var userAgent: String
    }

    /// The server answered (`status` > 0), or libcurl says why not.
    struct Outcome {
        var code: CURLcode
        /// What libcurl says of a failure.
        var reason: String
        var response: S3Response
    }

    private let handle: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>
    /// Read while a transfer is under way; set: give up.
    private let isCancelled: CancelFlag
    private var incoming = Incoming()

    /// Bodies of errors and of documents; more is dropped.
    static let bodyMax = 1 << 20

    fileprivate struct Incoming {
        var status = 0
        var headers = S3Headers()
        var count = 0
        var body: [UInt8] = []
        var target: UnsafeMutableRawBufferPointer?
    }

    private static let isInitialised: Bool = ccurl_global_init() == CURLE_OK

    init(_ isCancelled: CancelFlag) {
        guard Self.isInitialised, let handle = curl_easy_init() else {
            fatalError("libcurl cannot start: out of memory")
        }
        self.handle = handle
        self.isCancelled = isCancelled
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    }

    deinit {
        curl_easy_cleanup(handle)
        errorText.deallocate()
    }

    /// Sends a request and waits for the whole reply. Blocks for `timeoutMs` at most.
    func perform(_ transfer: Transfer) -> Outcome {
        incoming = Incoming(target: transfer.target)
        errorText[0] = 0
        curl_easy_reset(handle)
        setUp(transfer)
        var list: UnsafeMutablePointer<curl_slist>?
        for line in transfer.headers { list = curl_slist_append(list, line) }
        defer { curl_slist_free_all(list) }
        _ = ccurl_set_list(handle, CURLOPT_HTTPHEADER, list)
        let code = transfer.url.withCString { url in
            _ = ccurl_set_text(handle, CURLOPT_URL, url)
            return curl_easy_perform(handle)
        }
        var reason = String(cString: errorText)
        if reason.isEmpty { reason = String(cString: curl_easy_strerror(code)) }
        let response = S3Response(
            status: incoming.status, headers: incoming.headers, bodyCount: incoming.count,
            body: incoming.body)
        incoming = Incoming()
        return Outcome(code: code, reason: reason, response: response)
    }

    private func setUp(_ transfer: Transfer) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        func set(_ option: CURLoption, _ value: Int) { _ = ccurl_set_long(handle, option, value) }
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_PATH_AS_IS, 1)
        // Content-Encoding belongs to s3backer, not to the transport.
        set(CURLOPT_HTTP_CONTENT_DECODING, 0)
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_TIMEOUT_MS, max(1, transfer.timeoutMs))
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_TCP_KEEPIDLE, 200)
        set(CURLOPT_TCP_KEEPINTVL, 60)
        set(CURLOPT_BUFFERSIZE, 256 << 10)
        set(CURLOPT_UPLOAD_BUFFERSIZE, 256 << 10)
        set(CURLOPT_NOPROGRESS, 0)
        _ = ccurl_limit_protocols(handle)
        _ = ccurl_set_text(handle, CURLOPT_USERAGENT, transfer.userAgent)
        _ = ccurl_set_pointer(handle, CURLOPT_ERRORBUFFER, errorText)
        _ = ccurl_set_data(handle, CURLOPT_HEADERFUNCTION, curlHeader)
        _ = ccurl_set_pointer(handle, CURLOPT_HEADERDATA, context)
        _ = ccurl_set_data(handle, CURLOPT_WRITEFUNCTION, curlBody)
        _ = ccurl_set_pointer(handle, CURLOPT_WRITEDATA, context)
        _ = ccurl_set_progress(handle, curlProgress)
        _ = ccurl_set_pointer(handle, CURLOPT_XFERINFODATA, context)
        switch transfer.method {
        case .get: set(CURLOPT_HTTPGET, 1)
        case .head: set(CURLOPT_NOBODY, 1)
        case .delete:
            set(CURLOPT_HTTPGET, 1)
            _ = ccurl_set_text(handle, CURLOPT_CUSTOMREQUEST, "DELETE")
        case .put:
            // Fields given by pointer are sent from there and rewound by libcurl itself.
            set(CURLOPT_POST, 1)
            _ = ccurl_set_text(handle, CURLOPT_CUSTOMREQUEST, "PUT")
            let body = transfer.body ?? UnsafeRawBufferPointer(start: nil, count: 0)
            _ = ccurl_set_large(handle, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count))
            let start = body.baseAddress ?? UnsafeRawPointer(errorText)
            _ = ccurl_set_pointer(
                handle, CURLOPT_POSTFIELDS, UnsafeMutableRawPointer(mutating: start))
        }
    }

    // MARK: What comes in

    fileprivate func header(_ line: UnsafeRawBufferPointer) {
        if line.starts(with: "HTTP/".utf8) {
            let words = line.split(separator: 0x20, maxSplits: 2)
            let digits = words.count > 1 ? String(decoding: words[1], as: UTF8.self) : ""
            incoming.status = Int(digits.prefix(3)) ?? 0
        }
        incoming.headers.add(line: line)
    }

    fileprivate func body(_ bytes: UnsafeRawBufferPointer) {
        if let target = incoming.target, (200..<300).contains(incoming.status) {
            let room = max(0, target.count - incoming.count)
            let kept = min(room, bytes.count)
            if kept > 0, let start = target.baseAddress, let source = bytes.baseAddress {
                memcpy(start + incoming.count, source, kept)
            }
        } else if incoming.body.count < Self.bodyMax {
            incoming.body += bytes.prefix(Self.bodyMax - incoming.body.count)
        }
        incoming.count += bytes.count
    }

    /// Whether the transfer has become pointless: cancelled, or a body far longer than expected.
    fileprivate var shouldStop: Bool {
        let expected = incoming.target?.count ?? 0
        return isCancelled.isSet || incoming.count > 2 * expected + Self.bodyMax
    }
}

/// Told once that nothing is worth waiting for any more.
package final class CancelFlag: Sendable {
    private let flag = Atomic<Bool>(false)

    package init() {}

    package var isSet: Bool { flag.load(ordering: .relaxed) }
    package func set() { flag.store(true, ordering: .relaxed) }
}

/// Idle connections; the one used last is the first to be used again.
final class CurlPool: Sendable {
    /// Connections to keep; there are never more than threads that make requests.
    private static let idleMax = 256

    private let idle = Mutex<[CurlHandle]>([])

    func take() -> CurlHandle? { idle.withLock { $0.popLast() } }

    func give(_ handle: CurlHandle) {
        idle.withLock { idle in
            if idle.count < Self.idleMax { idle.append(handle) }
        }
    }
}

private func curlHeader(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
    _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let context else { return 0 }
    let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
    Unmanaged<CurlHandle>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.header(line) }
    return line.count
}

private func curlBody(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
    _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let context else { return 0 }
    let piece = UnsafeRawBufferPointer(start: bytes, count: size * count)
    Unmanaged<CurlHandle>.fromOpaque(context)._withUnsafeGuaranteedRef { $0.body(piece) }
    return piece.count
}

private func curlProgress(
    _ context: UnsafeMutableRawPointer?, _ downTotal: curl_off_t, _ down: curl_off_t,
    _ upTotal: curl_off_t, _ up: curl_off_t
) -> Int32 {
    guard let context else { return 0 }
    return Unmanaged<CurlHandle>.fromOpaque(context)._withUnsafeGuaranteedRef {
        $0.shouldStop ? 1 : 0
    }
}
