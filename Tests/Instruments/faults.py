"""Faults between a client and an S3 server, for mitmdump.

    mitmdump --mode reverse:http://127.0.0.1:PORT --listen-host 127.0.0.1 --listen-port 0 \\
        --set keep_host_header=true -s Tests/Instruments/faults.py \\
        --set faults_seed=1 --set faults_rate=0.1 --set faults_kinds=500,stale \\
        --set faults_log=FILE

Every fault is a line of JSON in the log: kind, method, path and the status the server gave (0: the
request never reached it). Whether a request gets a fault depends on the seed, its method and path
and on how many of that kind came before it, not on the order among different objects. While the
file FILE.pause exists there are none. A request with a header X-Fault gets the fault it names, in any
case. It ends with the process that started it.
"""

import asyncio
import collections
import hashlib
import json
import os
import random

from mitmproxy import ctx, http

SLOW_DOWN = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""
SKEWED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the \
current time is too large.</Message></Error>"""
INTERNAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"""
XML = {"Content-Type": "application/xml"}
ALL = ("GET", "HEAD", "PUT", "DELETE")

# kind -> methods it makes sense for. Kinds of BEFORE never reach the server.
BEFORE = {
    "500": ALL, "503": ALL, "503-retry-after": ALL, "skew": ALL, "301": ALL, "307": ALL, "cut": ALL,
    "stall": ALL,           # nothing for a while; then it goes on to the server
    "dead": ALL,            # nothing for a while; then the end
}
AFTER = {
    "lost-500": ALL,        # the server did it, the client is told 500
    "lost-cut": ALL,        # the server did it, the connection ends without a reply
    "late": ALL,            # the server did it, the reply stalls
    "etag": ("GET", "HEAD", "PUT"),
    "corrupt": ("GET",),    # one bit of the body
    "stale": ("GET", "HEAD"),  # the version before the last one, or 404 if that was deleted
    "short": ("GET",),      # half of the body, and a Content-Length that says so
    "truncated": ("GET",),  # half of the body, the old Content-Length, then the end
    "frozen": ("GET",),     # half of the body, the old Content-Length, then nothing
    "trickle": ("GET",),    # the body in pieces of one byte
}
KINDS = {**BEFORE, **AFTER}
# Of bodies kept to be served stale; the oldest go first.
KEPT_BYTES_MAX = 256 << 20


class Faults:
    def __init__(self):
        self.log = None
        self.counts = collections.Counter()
        self.streaks = collections.Counter()
        # path -> the last versions, newest at the end; None: deleted
        self.versions = collections.OrderedDict()
        self.kept_bytes = 0
        self.parent = os.getppid()

    # Options and life cycle

    def load(self, loader):
        loader.add_option("faults_seed", int, 1, "Seed of the faults.")
        loader.add_option("faults_rate", str, "0.1", "Share of requests that get a fault.")
        loader.add_option("faults_kinds", str, "500", "Kinds, separated by commas; or: all.")
        loader.add_option("faults_log", str, "", "File for a line about every fault.")
        loader.add_option("faults_stall", str, "1", "Seconds of a stall.")
        loader.add_option("faults_streak", int, 3, "Most faults of one request in a row.")
        loader.add_option("faults_only", str, "", "Only paths that contain this.")

    def configure(self, updated):
        options = ctx.options
        names = options.faults_kinds.split(",")
        self.kinds = list(KINDS) if names == ["all"] else [name for name in names if name]
        unknown = set(self.kinds) - set(KINDS)
        if unknown:
            raise ValueError("unknown faults: %s; there are %s" % (unknown, ", ".join(KINDS)))
        self.rate = float(options.faults_rate)
        self.stall = float(options.faults_stall)
        if options.faults_log and self.log is None:
            self.log = open(options.faults_log, "a", buffering=1, encoding="utf-8")

    def running(self):
        self.watch = asyncio.get_running_loop().create_task(self.end_with_parent())

    async def end_with_parent(self):
        while os.getppid() == self.parent:
            await asyncio.sleep(0.5)
        ctx.master.shutdown()

    # Choice

    def choose(self, request):
        """The kind of fault this request gets; None: none."""
        key = (request.method, request.path)
        forced = request.headers.pop("X-Fault", None)
        if forced is not None:
            return forced
        self.counts[key] += 1
        options = ctx.options
        fitting = [kind for kind in self.kinds if request.method in KINDS[kind]]
        if not fitting or options.faults_only not in request.path:
            return None
        if self.log is not None and os.path.exists(options.faults_log + ".pause"):
            return None
        name = "%d %s %s %d" % (options.faults_seed, *key, self.counts[key])
        chance = random.Random(hashlib.sha256(name.encode()).digest())
        if chance.random() >= self.rate or self.streaks[key] >= options.faults_streak:
            self.streaks[key] = 0
            return None
        self.streaks[key] += 1
        return chance.choice(fitting)

    def note(self, flow, kind, status):
        if self.log is not None:
            line = {"kind": kind, "method": flow.request.method, "path": flow.request.path,
                    "status": status}
            self.log.write(json.dumps(line) + "\n")

    # Faults instead of the server

    async def request(self, flow):
        kind = self.choose(flow.request)
        if kind in AFTER:
            flow.metadata["fault"] = kind
        if kind not in BEFORE:
            return
        self.note(flow, kind, 0)
        own = flow.request.pretty_url
        if kind == "500":
            flow.response = http.Response.make(500, INTERNAL, XML)
        elif kind == "503":
            flow.response = http.Response.make(503, SLOW_DOWN, XML)
        elif kind == "503-retry-after":
            flow.response = http.Response.make(503, SLOW_DOWN, {**XML, "Retry-After": "1"})
        elif kind == "skew":
            flow.response = http.Response.make(403, SKEWED, XML)
        elif kind in ("301", "307"):
            flow.response = http.Response.make(int(kind), b"", {"Location": own})
        elif kind == "cut":
            flow.kill()
        elif kind in ("stall", "dead"):
            await asyncio.sleep(self.stall)
            if kind == "dead":
                flow.kill()

    # Faults of what the server said

    def responseheaders(self, flow):
        response = flow.response
        if flow.metadata.get("fault") == "trickle" and 200 <= response.status_code < 300:
            response.stream = lambda piece: [piece[at:at + 1] for at in range(len(piece))]
            self.note(flow, "trickle", response.status_code)

    async def response(self, flow):
        kind = flow.metadata.get("fault")
        if kind == "trickle":
            return
        method, path, response = flow.request.method, flow.request.path, flow.response
        is_good = 200 <= response.status_code < 300
        status = response.status_code
        if kind == "stale":
            is_done = self.make_stale(flow)
        else:
            # Before the reply is changed: what is kept is what the server has.
            self.keep(flow, is_good)
            is_done = kind is not None and await self.change(flow, kind, is_good)
        if is_done:
            self.note(flow, kind, status)
        elif kind is not None:
            self.streaks[(method, path)] = 0

    async def change(self, flow, kind, is_good):
        """Returns whether the fault was possible."""
        response = flow.response
        if kind == "lost-500":
            flow.response = http.Response.make(500, INTERNAL, XML)
        elif kind == "lost-cut":
            flow.kill()
        elif kind == "late":
            await asyncio.sleep(self.stall)
        elif not is_good:
            return False
        elif kind == "etag":
            if "ETag" not in response.headers:
                return False
            old = response.headers["ETag"]
            response.headers["ETag"] = '"%s"' % hashlib.md5(old.encode()).hexdigest()
        else:
            return self.change_body(response, kind)
        return True

    def change_body(self, response, kind):
        body = response.raw_content
        if not body:
            return False
        half = len(body) // 2
        if kind == "corrupt":
            response.raw_content = body[:half] + bytes([body[half] ^ 1]) + body[half + 1:]
            return True
        # This does not touch the header.
        response.headers["Content-Length"] = str(half if kind == "short" else len(body))
        response.raw_content = body[:half]
        if kind == "truncated":
            response.headers["Connection"] = "close"
        return True

    # Versions

    def keep(self, flow, is_good):
        path = flow.request.path
        if flow.request.method not in ("PUT", "DELETE") or not is_good:
            return
        version = None
        if flow.request.method == "PUT":
            body = flow.request.raw_content or b""
            names = [name for name in flow.request.headers if name.lower().startswith("x-amz-meta")]
            fields = {name: flow.request.headers[name] for name in names}
            fields["ETag"] = flow.response.headers.get(
                "ETag", '"%s"' % hashlib.md5(body).hexdigest())
            version = (body, fields)
            self.kept_bytes += len(body)
        kept = self.versions.setdefault(path, [])
        kept.append(version)
        self.versions.move_to_end(path)
        if len(kept) > 2:
            self.forget(kept)
        while self.kept_bytes > KEPT_BYTES_MAX:
            _, oldest = self.versions.popitem(last=False)
            while oldest:
                self.forget(oldest)

    def forget(self, kept):
        gone = kept.pop(0)
        self.kept_bytes -= len(gone[0]) if gone else 0

    def make_stale(self, flow):
        kept = self.versions.get(flow.request.path, [])
        if len(kept) < 2:
            return False
        if kept[0] is None:
            flow.response = http.Response.make(404, b"", XML)
            return True
        body, fields = kept[0]
        is_get = flow.request.method == "GET"
        flow.response = http.Response.make(200, body if is_get else b"", fields)
        flow.response.headers["Content-Length"] = str(len(body))
        return True


addons = [Faults()]
