import Glibc
import Testing

@testable import s3backer

@Suite struct AllocateRequestTests {
    @Test("what fallocate means for a file of fixed size")
    func modes() {
        func request(_ mode: Int32, _ offset: Int, _ length: Int) -> AllocateRequest {
            AllocateRequest(mode, offset, length, size: 10_000)
        }
        for mode: Int32 in [0, 1] {
            #expect(request(mode, 0, 10_000) == .nothing)
            #expect(request(mode, 1, 10_000) == .fails(ENOSPC))
            #expect(request(mode, 1, .max) == .fails(ENOSPC))
        }
        for mode: Int32 in [3, 17] {
            #expect(request(mode, 7, 5000) == .zeros(7..<5007))
            #expect(request(mode, 7, .max) == .zeros(7..<10_000))
            #expect(request(mode, 10_000, 1) == .nothing)
            #expect(request(mode, 20_000, 1) == .nothing)
        }
        #expect(request(16, 7, 9993) == .zeros(7..<10_000))
        #expect(request(16, 7, 9994) == .fails(ENOSPC))
        for mode: Int32 in [2, 4, 8, 18, 32, 64, 35] {
            #expect(request(mode, 0, 4096) == .fails(EOPNOTSUPP))
        }
        for (offset, length) in [(-1, 5), (0, 0), (5, -1)] {
            #expect(request(3, offset, length) == .fails(EINVAL))
        }
    }
}
