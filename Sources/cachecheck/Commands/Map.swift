import ArgumentParser
import CacheFile
import FileIO

struct Map: Command {
    static let configuration = CommandConfiguration(
        abstract: "Draws which parts of the volume are in the cache.",
        discussion: """
            Each cell stands for equally many blocks and shows the gravest of what is in it. \
            --svg draws the same, finer, to a new file.
            """)

    @OptionGroup var common: CommonOptions

    @Option(name: .long, help: ArgumentHelp("Draw to this file.", valueName: "FILE"))
    var svg: String?

    /// In order of gravity.
    enum Cell: Int, CaseIterable {
        case absent, trimmed, clean, dirty, partial, conflict, lost

        var sign: Character {
            switch self {
            case .absent: "."
            case .trimmed: "z"
            case .clean: "c"
            case .dirty: "D"
            case .partial: "P"
            case .conflict: "!"
            case .lost: "?"
            }
        }

        var name: String { "\(self)" }

        var color: String {
            switch self {
            case .absent: "#eeeeee"
            case .trimmed: "#c8b8e8"
            case .clean: "#8cc68c"
            case .dirty: "#e8a33d"
            case .partial: "#f2d06b"
            case .conflict: "#d64545"
            case .lost: "#333333"
            }
        }
    }

    func execute() -> Int32 {
        look("map", common) { subject in
            do throws(FileError) {
                if let svg { return try draw(subject, to: svg) }
            } catch {
                return fail("map", common, .failed(Failure(writing: error)))
            }
            return show(subject)
        }
    }

    /// The volume in at most so many cells.
    private func cells(_ subject: Subject, _ count: Int) -> (cells: [Cell], blocksPerCell: UInt64) {
        let blocks = subject.geometry.volumeBlocks
        let perCell = (blocks + UInt64(count) - 1) / UInt64(count)
        var cells = [Cell](repeating: .absent, count: Int((blocks + perCell - 1) / perCell))
        func mark(_ cell: Int, _ kind: Cell) {
            if kind.rawValue > cells[cell].rawValue { cells[cell] = kind }
        }
        for extent in subject.state.zeros.items {
            let last = (extent.blocks.upperBound - 1) / perCell
            for cell in extent.blocks.lowerBound / perCell...last { mark(Int(cell), .trimmed) }
        }
        for block in subject.state.blocks() {
            mark(Int(block / perCell), Self.cell(BlockFacts(block, subject)))
        }
        return (cells, perCell)
    }

    private static func cell(_ facts: BlockFacts) -> Cell {
        if facts.isLost { return .lost }
        switch facts.state {
        case .clean: return .clean
        case .conflict: return .conflict
        default: return facts.isPartial ? .partial : .dirty
        }
    }

    // MARK: Terminal

    private static let columns = 64
    private static let rows = 16

    private func show(_ subject: Subject) -> Int32 {
        let (cells, perCell) = cells(subject, Self.columns * Self.rows)
        let ring = subject.geometry.ringLength
        let used = Int(
            subject.recovered.scan.end.position - subject.recovered.superblock.tail.position)
        if common.json {
            let members =
                subject.header("map") + [
                    ("blocksPerCell", .number(perCell)),
                    ("cells", .string(String(cells.map(\.sign)))),
                    ("ringBytes", .number(ring)), ("ringBytesUsed", .number(used)),
                ]
            return Output.finish(JSON.object(members).text + "\n", subject.status)
        }
        var lines: [String] = []
        if !common.quiet {
            lines = subject.warnings
            for start in stride(from: 0, to: cells.count, by: Self.columns) {
                let block = "\(UInt64(start) * perCell)"
                let row = String(cells[start..<min(start + Self.columns, cells.count)].map(\.sign))
                lines.append(
                    String(repeating: " ", count: max(0, 10 - block.count)) + block + " " + row)
            }
            lines.append(
                "a cell is \(Text.count(Int(perCell), "block")); "
                    + Cell.allCases.map { "\($0.sign) \($0.name)" }.joined(separator: ", "))
        }
        let marks = (used * 40 + ring - 1) / ring
        lines.append(
            "journal [" + String(repeating: "#", count: marks)
                + String(repeating: ".", count: max(0, 40 - marks))
                + "] \(used * 100 / ring) % used")
        return Output.finish(lines.map { $0 + "\n" }.joined(), subject.status)
    }

    // MARK: SVG

    private func draw(_ subject: Subject, to path: String) throws(FileError) -> Int32 {
        let columns = 128
        let side = 6
        let (cells, perCell) = cells(subject, columns * 64)
        let rows = (cells.count + columns - 1) / columns
        let height = rows * side + 3 * side
        let file = try NewFile(path)
        try file.append(
            """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(columns * side)" height="\(height)" \
            font-family="sans-serif" font-size="\(2 * side)">

            """)
        var start = 0
        while start < cells.count {
            // A run of equal cells in a row is one rectangle.
            var end = start + 1
            while end < cells.count, end % columns != 0, cells[end] == cells[start] { end += 1 }
            try file.append(
                "<rect x=\"\(start % columns * side)\" y=\"\(start / columns * side)\" "
                    + "width=\"\((end - start) * side)\" height=\"\(side)\" "
                    + "fill=\"\(cells[start].color)\"/>\n")
            start = end
        }
        var x = 0
        for kind in Cell.allCases {
            try file.append(
                "<rect x=\"\(x)\" y=\"\(rows * side + side)\" width=\"\(side)\" height=\"\(side)\" "
                    + "fill=\"\(kind.color)\"/><text x=\"\(x + 2 * side)\" "
                    + "y=\"\(rows * side + 2 * side)\">\(kind.name)</text>\n")
            x += 90
        }
        try file.append("</svg>\n")
        try file.finish()
        return Output.finish(
            common.json
                ? JSON.object(
                    subject.header("map") + [
                        ("svg", .string(path)), ("blocksPerCell", .number(perCell)),
                    ]
                ).text + "\n"
                : "\(Text.safe(path)): a cell is \(Text.count(Int(perCell), "block"))\n",
            subject.status)
    }
}
