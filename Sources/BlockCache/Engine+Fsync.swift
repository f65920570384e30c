// When writes and fsyncs are answered that have to wait for the store.

import CacheFile

extension Engine {
    /// fsync: `done` is called when everything acknowledged before is as safe as the policy says.
    package func sync(_ done: @escaping @Sendable (VolumeError?) -> Void) {
        if let poison { return reply { done(poison) } }
        switch configuration.policy.fsync {
        case .none: reply { done(nil) }
        case .remote: syncRemote(done)
        case .local: if isVolatile { syncRemote(done) } else { syncLocal(done) }
        }
    }

    /// A write is in the cache file. With `isSynchronous` its blocks have to be in the store.
    func acknowledge(_ request: WriteRequest) {
        guard configuration.policy.isSynchronous, request.error == nil else {
            return answer(request, nil)
        }
        if let block = request.blocks.first(where: { isInConflict($0) }) {
            return answer(
                request,
                VolumeError(.store, "block \(block) is in conflict with the store; kept here only"))
        }
        let dirty = request.blocks.filter { block in
            state.slot(of: block).map { state.slots.state($0) == .dirty } ?? false
        }
        if dirty.isEmpty { return answer(request, nil) }
        remoteSyncs.append(
            RemoteSync(blocks: Set(dirty), zeros: []) { error in request.reply(error) })
    }

    /// The mount ends: what the store does not have by now it will get from the next one.
    func abandonRemoteSyncs(_ error: VolumeError) {
        let waiting = remoteSyncs
        remoteSyncs = []
        for done in waiting.map(\.reply) { reply { done(error) } }
    }

    /// Says once for each outage that somebody waits for the store.
    func tellWaiters() {
        guard !remoteSyncs.isEmpty, let failure = status.failure else {
            status.hasToldWaiters = false
            return
        }
        if status.hasToldWaiters { return }
        status.hasToldWaiters = true
        log(.warning, "an fsync or a write waits for the store, which fails: \(failure.message)")
    }
}
