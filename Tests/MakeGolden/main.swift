import Foundation
import TestSupport

// Writes the images of Tests/Golden and the seeds of Tests/Fuzz: swift run -c release make-golden
for name in GoldenImages.names {
    try writeFile(SourceTree.golden("\(name).cache"), GoldenImages.make(name))
    print(SourceTree.golden("\(name).cache"))
}
for seed in try FuzzSeeds.make() {
    let directory = "\(SourceTree.root)/Tests/Fuzz/\(seed.target).seeds"
    try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true)
    try writeFile("\(directory)/\(seed.name)", seed.bytes)
}
