import BlockStore
import Testing

@Suite struct DigestTests {
    @Test("known answers of RFC 1321 and FIPS 180-2")
    func knownAnswers() {
        let text = Array("abc".utf8)
        text.withUnsafeBytes { bytes in
            #expect(Digest.hex(Digest.md5(bytes)) == "900150983cd24fb0d6963f7d28e17f72")
            #expect(
                Digest.hex(Digest.sha256(bytes))
                    == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        }
    }

    @Test("no bytes at all have a digest")
    func empty() {
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        #expect(Digest.hex(Digest.md5(none)) == "d41d8cd98f00b204e9800998ecf8427e")
    }
}
