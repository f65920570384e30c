import BlockStore
import CCurl
import FileIO
import Glibc
import Logging

/// How to reach a bucket.
public struct S3Configuration: Sendable, Equatable {
    public var endpoint: S3Endpoint
    /// nil: anonymous.
    public var credentials: Credentials?
    /// `x-amz-acl` of every object.
    public var accessType = "private"
    /// For one attempt, connecting included.
    public var timeoutMs = 30_000
    public var initialRetryPauseMs = 200
    /// Sum of the pauses of one request.
    public var maxRetryPauseMs = 30_000
    public var userAgent = "s3backer"

    public init(endpoint: S3Endpoint, credentials: Credentials?) {
        self.endpoint = endpoint
        self.credentials = credentials
    }
}

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

    private let signature: SignatureV4?
    private let context: S3ErrorContext
    private let logger: Logger
    private let pool = CurlPool()
    private let cancelFlag = CancelFlag()

    private static let shortAttempts = 3
    private static let pollMs = 50

    public init(_ configuration: S3Configuration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        signature = configuration.credentials.map {
            SignatureV4($0, region: configuration.endpoint.region)
        }
        context = S3ErrorContext(
            endpoint: configuration.endpoint, accessID: configuration.credentials?.accessID)
    }

    /// Makes every call end soon, now and from now on.
    public func cancel() { cancelFlag.set() }

    /// - Throws: Anything but a 2xx reply, after the retries that make sense.
    package func perform(
        _ request: S3Request, _ patience: Patience = .long
    ) throws(S3Error) -> S3Response {
        let what = describe(request)
        var pauses = RetryPauses(
            initialMs: configuration.initialRetryPauseMs, sumMs: configuration.maxRetryPauseMs)
        let deadlineMs = Monotonic.nowMs + UInt64(configuration.timeoutMs)
        var attempt = 1
        var isUnanswered = false
        while true {
            let left = Int(deadlineMs) - Int(Monotonic.nowMs)
            let timeoutMs = patience == .short ? left : configuration.timeoutMs
            do throws(S3Error) {
                var response = try perform(request, what, timeoutMs: timeoutMs)
                response.hadUnansweredTry = isUnanswered
                return response
            } catch {
                var error = error
                error.hadUnansweredTry = isUnanswered
                guard error.isTemporary, error.kind != .cancelled,
                    let pause = pauses.next(chance: Double.random(in: 0...1))
                else { throw gaveUp(error, what, attempt) }
                // 503 says that nothing was done; after anything else of the kind nobody knows.
                isUnanswered = isUnanswered || error.status != 503
                if patience == .short {
                    let mayRetry =
                        attempt < Self.shortAttempts
                        && Monotonic.nowMs + UInt64(pause) + 1 < deadlineMs
                    if !mayRetry { throw gaveUp(error, what, attempt) }
                    logger.debug("\(error.message)")
                } else {
                    logger.info("\(error.message)")
                }
                attempt += 1
                logger.debug("retrying query (attempt #\(attempt)): \(what)")
                try wait(pause, what)
            }
        }
    }

    private func gaveUp(_ error: S3Error, _ what: String, _ attempts: Int) -> S3Error {
        if attempts > 1 { logger.debug("giving up on: \(what)") }
        return error
    }

    private func wait(_ ms: Int, _ what: String) throws(S3Error) {
        let until = Monotonic.nowMs + UInt64(ms)
        while true {
            if cancelFlag.isSet { throw S3Error(.cancelled, "\(what) was given up") }
            let now = Monotonic.nowMs
            if now >= until { return }
            usleep(UInt32(min(Int(until - now), Self.pollMs)) * 1000)
        }
    }

    /// What a HEAD cannot say, a GET of the same object can.
    private func perform(
        _ request: S3Request, _ what: String, timeoutMs: Int
    ) throws(S3Error) -> S3Response {
        do throws(S3Error) {
            return try attempt(request, what, timeoutMs: timeoutMs)
        } catch {
            guard request.method == .head, error.needsExplanation else { throw error }
            var again = request
            again.method = .get
            do throws(S3Error) {
                _ = try attempt(again, what, timeoutMs: timeoutMs)
            } catch let better {
                if better.status == error.status { throw better }
            }
            throw error
        }
    }

    // MARK: One attempt

    private func attempt(
        _ request: S3Request, _ what: String, timeoutMs: Int
    ) throws(S3Error) -> S3Response {
        if cancelFlag.isSet { throw S3Error(.cancelled, "\(what) was given up") }
        let handle = pool.take() ?? CurlHandle(cancelFlag)
        let endpoint = configuration.endpoint
        let outcome = handle.perform(
            CurlHandle.Transfer(
                method: request.method,
                url: endpoint.url(path: request.path, query: request.query),
                headers: headerLines(request, date: S3Date.text()), body: request.body,
                target: request.target, timeoutMs: timeoutMs,
                userAgent: configuration.userAgent))
        let response = outcome.response
        let isAnswered = outcome.code == CURLE_OK && response.status >= 100
        // A server in trouble may do better on a new connection.
        if isAnswered && response.status < 500 { pool.give(handle) }
        if !isAnswered {
            let isTooLong = outcome.code == CURLE_ABORTED_BY_CALLBACK && !cancelFlag.isSet
            if isTooLong, (200..<300).contains(response.status) { return response }
            // What counts is the refusal; its document has no end.
            if isTooLong, response.status >= 300 { throw context.error(response, what) }
            throw context.error(outcome.code, outcome.reason, what)
        }
        if (200..<300).contains(response.status) { return response }
        throw context.error(response, what)
    }

    /// The header lines of a request as of a date, signed.
    package func headerLines(_ request: S3Request, date: String) -> [String] {
        let payload = request.body ?? UnsafeRawBufferPointer(start: nil, count: 0)
        let hash = Digest.hex(Digest.sha256(payload))
        var headers = request.headers
        headers.append(("x-amz-date", date))
        headers.append(("x-amz-content-sha256", hash))
        var lines = headers.map { "\($0.name): \($0.value)" }
        if let signature {
            let signed = SignatureV4.Request(
                method: request.method.rawValue, path: request.path, query: request.query,
                headers: headers + [("host", configuration.endpoint.host)], payloadHash: hash)
            lines.append("Authorization: " + signature.authorization(signed, date: date))
        }
        // Not signed, because proxies rewrite it. No coding but s3backer's own is wanted.
        if request.method == .get { lines.append("Accept-Encoding: identity") }
        if request.method == .put {
            // Waiting for permission to send costs a round trip.
            lines.append("Expect:")
            if !request.headers.contains(where: { $0.name == "content-type" }) {
                lines.append("Content-Type:")
            }
        }
        return lines
    }

    private func describe(_ request: S3Request) -> String {
        let url = configuration.endpoint.url(path: request.path, query: request.query)
        return "\(request.method.rawValue) \(url)"
    }
}
