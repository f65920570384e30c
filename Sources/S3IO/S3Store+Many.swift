// Many blocks with one request.

import BlockStore

extension S3Store {
    // MARK: Listing

    public func list(
        _ part: ListPart, _ page: ([ListedBlock]) -> Bool
    ) throws(StoreError) {
        guard let bounds = keys.bounds(of: part) else { return }
        var listing = BucketListing(client: client, keys: keys, bounds: bounds, habits: habits)
        do throws(S3Error) {
            try listing.run(page)
        } catch {
            throw StoreError(error.isTemporary ? .temporary : .permanent, error.message)
        }
    }

    /// Names with a hash stand in the order of the hash.
    public var listsInOrder: Bool { !keys.isHashed }

    public func listed(_ range: Range<UInt64>) throws(StoreError) -> ListedRange {
        precondition(!range.isEmpty && range.upperBound <= keys.blockCount && !keys.isHashed)
        let bounds = UInt32(range.lowerBound)...UInt32(range.upperBound - 1)
        var listing = BucketListing(client: client, keys: keys, bounds: bounds, habits: habits)
        var found: [ListedBlock] = []
        let isComplete: Bool
        do throws(S3Error) {
            isComplete = try listing.run { blocks in
                found = blocks
                return false
            }
        } catch {
            throw StoreError(error.isTemporary ? .temporary : .permanent, error.message)
        }
        // What is not named between two names is taken for absent, so they have to be in order.
        for (block, next) in zip(found, found.dropFirst()) where block.block >= next.block {
            throw StoreError(.permanent, "the server lists names in no order")
        }
        let end = found.last.map { $0.block + 1 }
        return ListedRange(found, end: isComplete ? range.upperBound : end ?? range.upperBound)
    }

    // MARK: Deletion

    private static let namedTogether = 1000

    public var deletedTogether: Int {
        habits.refusesBulkDelete.load(ordering: .relaxed) ? 1 : Self.namedTogether
    }

    public func delete(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>] {
        var results: [Result<StoreOutcome, StoreError>] = []
        results.reserveCapacity(blocks.count)
        var rest = blocks[...]
        while !rest.isEmpty {
            let some = Array(rest.prefix(Self.namedTogether))
            rest = rest.dropFirst(some.count)
            results += deleteTogether(some) ?? some.map(deleteOne)
        }
        return results
    }

    private func deleteOne(_ block: UInt64) -> Result<StoreOutcome, StoreError> {
        do throws(StoreError) {
            return .success(try delete(block, replacing: nil))
        } catch {
            return .failure(error)
        }
    }

    /// - Returns: nil when they are to be deleted one by one.
    private func deleteTogether(_ blocks: [UInt64]) -> [Result<StoreOutcome, StoreError>]? {
        guard blocks.count > 1, !habits.refusesBulkDelete.load(ordering: .relaxed),
            BulkDeletion.canName(keys.prefix)
        else { return nil }
        let deletion = BulkDeletion(client: client, keys: blocks.map(keys.key))
        do throws(S3Error) {
            let answer = try deletion.run()
            let outcome = StoreOutcome(.absent, mayArriveAgain: answer.hadUnansweredTry)
            var failed: [UInt64: StoreError] = [:]
            for failure in answer.failures {
                guard let block = keys.block(of: failure.key.utf8) else { continue }
                failed[block] = StoreError(
                    failure.isTemporary ? .temporary : .permanent,
                    "block \(block): \(failure.message)", block: block)
            }
            return blocks.map { block in failed[block].map { .failure($0) } ?? .success(outcome) }
        } catch {
            if error.isTemporary {
                return blocks.map { block in
                    .failure(
                        StoreError(.temporary, "block \(block): \(error.message)", block: block))
                }
            }
            // Whatever it is that is refused: alone, each block says for itself what is wrong, and if
            // nothing is, it was the form of the request.
            let results = blocks.map(deleteOne)
            let isOnlyBulk = results.allSatisfy { if case .success = $0 { true } else { false } }
            if isOnlyBulk { habits.refusesBulkDelete.store(true, ordering: .relaxed) }
            return results
        }
    }
}
