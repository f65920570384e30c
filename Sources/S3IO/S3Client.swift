import BlockStore
import CCurl
import FileIO
import Logging
import Synchronization

/// Sends requests: signs, retries, explains. Calls may come from any thread and block.
public final class S3Client: Sendable {
    public let configuration: S3Configuration

    /// How long a caller is ready to wait.
    package enum Patience: Sendable {
        /// While starting: a few attempts, all of them within the time for one.
        case short
        /// While serving: until the pauses are used up.
        case long
    }

    private let signer: Signer
    private let clock: ServerClock
    private let time: ClientTime
    private let tags = EntityTagKind()
    private let logger: Logger
    private let pool = CurlPool()
    private let uploads: RateLimit?
    private let downloads: RateLimit?
    private let cancelFlag = CancelFlag()
    /// Failed attempts since a request has succeeded.
    private let failures = Atomic<Int>(0)

    /// Failed attempts that the log tells of: an outage of a night would be a line for every second.
    private static let failuresTold = 10
    private static let shortAttempts = 3
    private static let pollNs: UInt64 = 50_000_000
    /// How many times longer the first pause is when a server asks for less.
    private static let slowDownFactor = 4

    /// - Parameter source: Gives the key, if it is not the one of the configuration.
    public convenience init(
        _ configuration: S3Configuration, source: (any CredentialsSource)? = nil, logger: Logger
    ) {
        self.init(configuration, source: source, logger: logger, time: .machine)
    }

    package init(
        _ configuration: S3Configuration, source: (any CredentialsSource)?, logger: Logger,
        time: ClientTime
    ) {
        self.configuration = configuration
        self.time = time
        self.logger = logger
        signer = Signer(
            configuration.endpoint, configuration.signatureVersion,
            source ?? FixedCredentials(configuration.credentials))
        clock = ServerClock(host: configuration.endpoint.host, logger: logger)
        uploads = configuration.transport.uploadSpeedMax.map(RateLimit.init(bytesPerSecond:))
        downloads = configuration.transport.downloadSpeedMax.map(RateLimit.init(bytesPerSecond:))
    }

    /// Makes every call end soon, now and from now on.
    public func cancel() { cancelFlag.set() }

    /// - Throws: Anything but a 2xx reply, after the retries that make sense.
    package func perform(
        _ request: S3Request, _ patience: Patience = .long
    ) throws(S3Error) -> S3Response {
        let call = Call(request, to: configuration.endpoint)
        var pauses = RetryPauses(
            initialMs: configuration.initialRetryPauseMs, sumMs: configuration.maxRetryPauseMs)
        let limitMs = configuration.transport.timeoutMs
        let deadlineMs = time.nowMs + UInt64(limitMs)
        var attempt = 1
        var isUnanswered = false
        while true {
            let left = Int(deadlineMs) - Int(time.nowMs)
            let timeoutMs = patience == .short ? left : limitMs
            do throws(S3Error) {
                var response = try explained(call, timeoutMs: timeoutMs)
                if failures.load(ordering: .relaxed) != 0 { failures.store(0, ordering: .relaxed) }
                response.hadUnansweredTry = isUnanswered
                return response
            } catch {
                var error = error
                error.hadUnansweredTry = isUnanswered
                guard error.isTemporary, error.kind != .cancelled,
                    let pause = pauses.next(
                        chance: Double.random(in: 0...1), atLeast: wish(error))
                else { throw gaveUp(error, call, attempt) }
                // 503 says that nothing was done; after anything else of the kind nobody knows.
                isUnanswered = isUnanswered || error.status != 503
                if patience == .short {
                    let mayRetry =
                        attempt < Self.shortAttempts
                        && time.nowMs + UInt64(pause) + 1 < deadlineMs
                    if !mayRetry { throw gaveUp(error, call, attempt) }
                    logger.debug("\(error.message)")
                } else {
                    tell(error)
                }
                attempt += 1
                logger.debug("retrying query (attempt #\(attempt)): \(call.description)")
                try wait(until: time.nowNs() + UInt64(pause) * 1_000_000, call)
            }
        }
    }

    private func tell(_ error: S3Error) {
        let count = failures.add(1, ordering: .relaxed).newValue
        if count > Self.failuresTold { return logger.debug("\(error.message)") }
        let isLast = count == Self.failuresTold
        let rest = isLast ? "; further failures are not told until a request succeeds" : ""
        logger.info("\(error.message)\(rest)")
    }

    /// How many milliseconds the server should at least get.
    private func wish(_ error: S3Error) -> Int {
        if let wish = error.retryAfterMs { return wish }
        return error.isSlowDown ? Self.slowDownFactor * configuration.initialRetryPauseMs : 0
    }

    private func gaveUp(_ error: S3Error, _ call: Call, _ attempts: Int) -> S3Error {
        if attempts > 1 { logger.debug("giving up on: \(call.description)") }
        return error
    }

    private func wait(until ns: UInt64, _ call: Call) throws(S3Error) {
        while true {
            if cancelFlag.isSet || call.request.cancel?.isSet == true {
                throw S3Error(.cancelled, "\(call.description) was given up")
            }
            let now = time.nowNs()
            if now >= ns { return }
            time.sleep(min(ns, now + Self.pollNs))
        }
    }

    // MARK: One attempt

    /// A request and where it goes.
    private struct Call {
        var request: S3Request
        let url: String
        private let method: S3Request.Method

        init(_ request: S3Request, to endpoint: S3Endpoint) {
            self.request = request
            url = endpoint.url(path: request.path, query: request.query)
            method = request.method
        }

        /// What was asked for, for people; made when there is something to tell.
        var description: String { "\(method.rawValue) \(url)" }
    }

    /// What a HEAD cannot say, a GET of the same object can.
    private func explained(_ call: Call, timeoutMs: Int) throws(S3Error) -> S3Response {
        do throws(S3Error) {
            return try renewed(call, timeoutMs: timeoutMs)
        } catch {
            guard call.request.method == .head, error.needsExplanation else { throw error }
            var again = call
            again.request.method = .get
            do throws(S3Error) {
                // It may also learn what the HEAD did not say: the time, or that a key has expired.
                _ = try renewed(again, timeoutMs: timeoutMs)
            } catch let better {
                if better.status == error.status { throw better }
                throw error
            }
            return try renewed(call, timeoutMs: timeoutMs)
        }
    }

    /// Once more with another date or key, if that is what the server asks for.
    private func renewed(_ call: Call, timeoutMs: Int) throws(S3Error) -> S3Response {
        let seconds = clock.seconds
        let credentials = try signer.credentials()
        do throws(S3Error) {
            return try attempt(call, timeoutMs: timeoutMs, credentials)
        } catch {
            if error.isSkewed {
                guard clock.learn(error.serverDate, used: seconds) else { throw error }
            } else {
                guard error.isExpired, signer.hasExpired(credentials) else { throw error }
            }
        }
        do throws(S3Error) {
            return try attempt(call, timeoutMs: timeoutMs, try signer.credentials())
        } catch {
            if error.isSkewed { clock.forget() }
            throw error
        }
    }

    private func attempt(
        _ call: Call, timeoutMs: Int, _ credentials: Credentials?
    ) throws(S3Error) -> S3Response {
        let request = call.request
        try waitForTurn(call)
        let lines = headerLines(request, at: clock.seconds, credentials)
        let handle =
            pool.take()
            ?? CurlHandle(configuration.transport, userAgent: configuration.userAgent, cancelFlag)
        let outcome = handle.perform(
            CurlHandle.Transfer(
                method: request.method, url: call.url,
                headers: lines, body: request.body, target: request.target, timeoutMs: timeoutMs,
                uploadSpeed: request.body.flatMap {
                    uploads?.speed(bytes: $0.count, timeoutMs: timeoutMs)
                } ?? 0,
                downloadSpeed: request.target.flatMap {
                    downloads?.speed(bytes: $0.count, timeoutMs: timeoutMs)
                } ?? 0,
                cancel: request.cancel))
        let response = outcome.response
        log(call, lines, outcome)
        let context = S3ErrorContext(
            endpoint: configuration.endpoint, accessID: credentials?.accessID)
        let isAnswered = outcome.code == CURLE_OK && response.status >= 100
        // A server in trouble may do better on a new connection; one that is busy will not.
        if isAnswered && (response.status < 500 || response.status == 503) { pool.give(handle) }
        if !isAnswered {
            let isStopped = cancelFlag.isSet || request.cancel?.isSet == true
            let isTooLong = outcome.code == CURLE_ABORTED_BY_CALLBACK && !isStopped
            if isTooLong, (200..<300).contains(response.status) { return response }
            // What counts is the refusal; its document has no end.
            if isTooLong, response.status >= 300 {
                throw context.error(response, call.description)
            }
            throw context.error(outcome.code, outcome.reason, call.description)
        }
        guard (200..<300).contains(response.status) || request.accepts(response.status) else {
            throw context.error(response, call.description)
        }
        if request.needsTag, response.status < 300, response.entityTag == nil {
            throw context.failure(
                .server, "the reply has no ETag, which is needed", call.description)
        }
        if let problem = tags.problem(request, response) {
            throw context.failure(.damaged, "damaged on its way: \(problem)", call.description)
        }
        return response
    }

    /// Bodies share the bandwidth that is allowed. Those of replies count as long as a block.
    private func waitForTurn(_ call: Call) throws(S3Error) {
        var start: UInt64 = 0
        if let uploads, let count = call.request.body?.count, count > 0 {
            start = uploads.turn(bytes: count, nowNs: time.nowNs())
        }
        if let downloads, let count = call.request.target?.count {
            start = max(start, downloads.turn(bytes: count, nowNs: time.nowNs()))
        }
        try wait(until: start, call)
    }

    /// The header lines of a request as of a date (seconds since 1970), signed.
    package func headerLines(_ request: S3Request, at seconds: Int) throws(S3Error) -> [String] {
        headerLines(request, at: seconds, try signer.credentials())
    }

    private func headerLines(
        _ request: S3Request, at seconds: Int, _ credentials: Credentials?
    ) -> [String] {
        var lines = signer.lines(
            request, at: seconds, payloadHash: { Self.payloadHash(request) }, credentials)
        // Not signed, because proxies rewrite it. No coding but s3backer's own is wanted.
        if request.method == .get { lines.append("Accept-Encoding: identity") }
        if request.method == .put || request.method == .post {
            // Waiting for permission to send costs a round trip.
            lines.append("Expect:")
            if !request.headers.contains(where: { $0.name == "content-type" }) {
                lines.append("Content-Type:")
            }
        }
        return lines
    }

    private static func payloadHash(_ request: S3Request) -> String {
        if let digest = request.payloadHash { return Digest.hex(digest) }
        return request.body.map { Digest.hex(Digest.sha256($0)) } ?? hashOfNothing
    }

    private static let hashOfNothing = Digest.hex(
        Digest.sha256(UnsafeRawBufferPointer(start: nil, count: 0)))

    private func log(_ call: Call, _ lines: [String], _ outcome: CurlHandle.Outcome) {
        guard configuration.logsHTTP else { return }
        logger.debug("> \(call.description)")
        for line in lines {
            let name = line.prefix { $0 != ":" }.lowercased()
            let isSecret = name == "authorization" || name == "x-amz-security-token"
            logger.debug("> \(isSecret ? name + ": (not shown)" : line)")
        }
        logger.debug(
            "< \(outcome.response.status) \(outcome.response.bodyCount) bytes \(outcome.reason)")
        for line in outcome.response.headers.shown { logger.debug("< \(line)") }
    }
}
