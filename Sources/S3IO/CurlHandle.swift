import BlockStore
import CCurl
import FileIO
import Glibc

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
        /// Bytes per second; 0: as fast as possible.
        var uploadSpeed = 0
        var downloadSpeed = 0
        /// Set: nobody wants it any more.
        var cancel: CancelFlag?
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
    private let typeOfService: UnsafeMutablePointer<CInt>
    /// Read while a transfer is under way; set: give up.
    private let isCancelled: CancelFlag
    private var isOvertaken: CancelFlag?
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

    init(_ options: TransportOptions, userAgent: String, _ isCancelled: CancelFlag) {
        guard Self.isInitialised, let handle = curl_easy_init() else {
            fatalError("libcurl cannot start: out of memory")
        }
        self.handle = handle
        self.isCancelled = isCancelled
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        typeOfService = .allocate(capacity: 1)
        typeOfService.initialize(to: CInt(options.typeOfService ?? 0))
        setUp(options, userAgent)
    }

    deinit {
        curl_easy_cleanup(handle)
        errorText.deallocate()
        typeOfService.deallocate()
    }

    /// Sends a request and waits for the whole reply. Blocks for `timeoutMs` at most.
    func perform(_ transfer: Transfer) -> Outcome {
        incoming = Incoming(target: transfer.target)
        isOvertaken = transfer.cancel
        errorText[0] = 0
        set(CURLOPT_TIMEOUT_MS, max(1, transfer.timeoutMs))
        _ = ccurl_set_large(
            handle, CURLOPT_MAX_SEND_SPEED_LARGE, curl_off_t(transfer.uploadSpeed))
        _ = ccurl_set_large(
            handle, CURLOPT_MAX_RECV_SPEED_LARGE, curl_off_t(transfer.downloadSpeed))
        setMethod(transfer)
        var list: UnsafeMutablePointer<curl_slist>?
        for line in transfer.headers { list = curl_slist_append(list, line) }
        _ = ccurl_set_list(handle, CURLOPT_HTTPHEADER, list)
        let code = transfer.url.withCString { url in
            _ = ccurl_set_text(handle, CURLOPT_URL, url)
            return curl_easy_perform(handle)
        }
        // What a later transfer would use is not left behind.
        _ = ccurl_set_list(handle, CURLOPT_HTTPHEADER, nil)
        curl_slist_free_all(list)
        var reason = ""
        if code != CURLE_OK {
            reason = String(cString: errorText)
            if reason.isEmpty { reason = String(cString: curl_easy_strerror(code)) }
            if incoming.headers.isTooLong { reason = "the head of the reply is too long" }
        }
        let response = S3Response(
            status: incoming.status, headers: incoming.headers, bodyCount: incoming.count,
            body: incoming.body)
        incoming = Incoming()
        isOvertaken = nil
        return Outcome(code: code, reason: reason, response: response)
    }

    // MARK: Options

    private func set(_ option: CURLoption, _ value: Int) {
        _ = ccurl_set_long(handle, option, value)
    }

    /// What holds for every transfer.
    private func setUp(_ options: TransportOptions, _ userAgent: String) {
        let context = Unmanaged.passUnretained(self).toOpaque()
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_PATH_AS_IS, 1)
        // Content-Encoding belongs to s3backer, not to the transport.
        set(CURLOPT_HTTP_CONTENT_DECODING, 0)
        // One request at a time is all that a connection carries.
        set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        set(CURLOPT_CONNECTTIMEOUT_MS, max(1, options.connectTimeoutMs))
        set(CURLOPT_LOW_SPEED_LIMIT, 1)
        set(CURLOPT_LOW_SPEED_TIME, options.stallSeconds)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_TCP_KEEPIDLE, 200)
        set(CURLOPT_TCP_KEEPINTVL, 60)
        set(CURLOPT_BUFFERSIZE, 64 << 10)
        // Blocks of a usual size go to the kernel in one piece: then even the end of this process
        // does not leave half of one on the way.
        set(CURLOPT_UPLOAD_BUFFERSIZE, 256 << 10)
        set(CURLOPT_NOPROGRESS, 0)
        if !options.keepsConnections {
            set(CURLOPT_FORBID_REUSE, 1)
            set(CURLOPT_FRESH_CONNECT, 1)
        }
        if options.isInsecure {
            set(CURLOPT_SSL_VERIFYPEER, 0)
            set(CURLOPT_SSL_VERIFYHOST, 0)
        }
        if let file = options.authoritiesFile {
            _ = ccurl_set_text(handle, CURLOPT_CAINFO, file)
            // Else the system's directory would be looked into as well.
            _ = ccurl_set_text(handle, CURLOPT_CAPATH, nil)
        }
        if options.isDirect { _ = ccurl_set_text(handle, CURLOPT_PROXY, "") }
        if options.typeOfService != nil { _ = ccurl_set_tos(handle, typeOfService) }
        _ = ccurl_limit_protocols(handle)
        _ = ccurl_set_text(handle, CURLOPT_USERAGENT, userAgent)
        _ = ccurl_set_pointer(handle, CURLOPT_ERRORBUFFER, errorText)
        _ = ccurl_set_data(handle, CURLOPT_HEADERFUNCTION, curlHeader)
        _ = ccurl_set_pointer(handle, CURLOPT_HEADERDATA, context)
        _ = ccurl_set_data(handle, CURLOPT_WRITEFUNCTION, curlBody)
        _ = ccurl_set_pointer(handle, CURLOPT_WRITEDATA, context)
        _ = ccurl_set_progress(handle, curlProgress)
        _ = ccurl_set_pointer(handle, CURLOPT_XFERINFODATA, context)
    }

    /// Sets each of the options that make a method, since the last transfer may have had another.
    private func setMethod(_ transfer: Transfer) {
        switch transfer.method {
        case .head: set(CURLOPT_NOBODY, 1)
        case .get, .delete: set(CURLOPT_HTTPGET, 1)
        case .put, .post:
            // Fields given by pointer are sent from there and rewound by libcurl itself.
            set(CURLOPT_POST, 1)
            let body = transfer.body ?? UnsafeRawBufferPointer(start: nil, count: 0)
            _ = ccurl_set_large(handle, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count))
            let start = body.baseAddress ?? UnsafeRawPointer(errorText)
            _ = ccurl_set_pointer(
                handle, CURLOPT_POSTFIELDS, UnsafeMutableRawPointer(mutating: start))
        }
        switch transfer.method {
        case .put, .delete:
            _ = ccurl_set_text(handle, CURLOPT_CUSTOMREQUEST, transfer.method.rawValue)
        case .get, .head, .post: _ = ccurl_set_text(handle, CURLOPT_CUSTOMREQUEST, nil)
        }
    }

    // MARK: What comes in

    /// - Returns: Whether to go on.
    fileprivate func header(_ line: UnsafeRawBufferPointer) -> Bool {
        if S3Headers.isStatus(line) {
            let words = line.split(separator: 0x20, maxSplits: 2)
            let digits = words.count > 1 ? String(decoding: words[1], as: UTF8.self) : ""
            incoming.status = Int(digits.prefix(3)) ?? 0
        }
        incoming.headers.add(line: line)
        return !incoming.headers.isTooLong
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
        return isCancelled.isSet || isOvertaken?.isSet == true
            || incoming.count > 2 * expected + Self.bodyMax
    }
}

/// Idle connections; the one used last is the first to be used again.
final class CurlPool: Sendable {
    /// Connections to keep; there are never more than threads that make requests.
    private static let idleMax = 256

    private let idle = Locked<[CurlHandle]>([])

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
    let goesOn = Unmanaged<CurlHandle>.fromOpaque(context)._withUnsafeGuaranteedRef {
        $0.header(line)
    }
    return goesOn ? line.count : 0
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
