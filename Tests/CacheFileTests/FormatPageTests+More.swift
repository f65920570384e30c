import CacheFile
import FileIO
import Foundation
import Journal
import TestSupport
import Testing

extension FormatPageTests {
    @Test("bodies of the records of trims")
    func trims() throws {
        let bytes = try Self.encoder()
        func zero(_ lsn: LSN) -> [UInt8] {
            var record = bytes(.zeroRange(ZeroRangeRecord(blocks: 0..<1, carriedLSN: lsn)))
            // The flags, which differ with the LSN.
            record[1] = 0
            return record
        }
        try Self.expect("zero", zero(0), [("originalLSN", zero(.max))])
        #expect(bytes(.zero(ZeroRecord(slot: 0, block: 0))).count == 32)
        let range = bytes(.cleanRange(CleanRangeRecord(blocks: 5..<12, asOf: 3)))
        let cleans = try #require(FormatPage.shared.layouts["clean"])
        range.withUnsafeBytes {
            #expect($0.field(cleans.range("baseKind")!.lowerBound, UInt8.self) == 1)
            #expect($0.field(cleans.range("base")!.lowerBound, UInt64.self) == 7)
        }
        let layout = try #require(FormatPage.shared.layouts["data"])
        let zeros = bytes(.zero(ZeroRecord(slot: 0, block: 0, granules: 3..<7)))
        zeros.withUnsafeBytes {
            #expect($0.count == 40 && $0[0] == 1 && $0[1] == 2)
            #expect($0.field(layout.range("firstGranule")!.lowerBound, UInt16.self) == 3)
            #expect($0.field(layout.range("granuleCount")!.lowerBound, UInt16.self) == 4)
            #expect($0.field(layout.range("dataLength")!.lowerBound, UInt32.self) == 0)
        }
    }

    @Test("rules and invariants are all there")
    func numbered() {
        for number in 1...9 { #expect(FormatPage.shared.text.contains("- **R\(number)** ")) }
        for number in 1...22 {
            let plain = FormatPage.shared.text.contains("- **I\(number)** ")
            let later = FormatPage.shared.text.contains("- **I\(number)*** ")
            #expect(plain != later)
        }
    }

    @Test("every code of a finding is on the page, and none that does not exist")
    func findings() throws {
        let listed = Set(FormatPage.shared.table("findings").map { $0[0] })
        var used = Set<String>()
        for module in ["CacheFile", "cachecheck"] {
            let directory = "\(SourceTree.root)/Sources/\(module)"
            for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
                let text = String(decoding: readFile("\(directory)/\(name)"), as: UTF8.self)
                for match in text.matches(
                    of: /"((?:SB|VER|FEAT|BIND|SIZE|ROOT|PAGE|ENT|JRN|DATA|INTENT|S3)_[A-Z_]+)/)
                {
                    used.insert(String(match.1))
                }
            }
        }
        #expect(used == listed)
    }
}
