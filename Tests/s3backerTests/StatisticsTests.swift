import Testing

@testable import s3backer

@Suite struct StatisticsTests {
    @Test(
        "ratios are rounded and keep their zeros",
        arguments: [
            (0, 0, 4, "0.0000"), (1, 2, 4, "0.5000"), (2, 3, 4, "0.6667"), (1, 1, 8, "1.00000000"),
            (1, 300, 8, "0.00333333"),
        ])
    func ratio(part: Int, whole: Int, digits: Int, text: String) {
        #expect(Statistics.ratio(part, whole, digits: digits) == text)
    }
}
