// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]
/// The engine's state is reached under one lock only; checking each access again costs 5 % of a write.
let engine: [SwiftSetting] = strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"])]
/// Tests run optimised; those of an executable need to see inside it.
let testable: [SwiftSetting] = strict + [.unsafeFlags(["-enable-testing"])]

let package = Package(
    name: "s3backer",
    products: [
        .executable(name: "s3backer", targets: ["s3backer"]),
        .executable(name: "cachecheck", targets: ["cachecheck"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // C shims: what Swift cannot import, and CRC32C.
        .target(name: "CSys"),
        .target(name: "CFuse", linkerSettings: [.linkedLibrary("fuse3")]),
        .target(name: "CDaemon"),
        .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),

        .systemLibrary(
            name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .systemLibrary(name: "CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),

        // The engine; arrows point one way, see docs/architecture.md.
        .target(name: "FileIO", dependencies: ["CSys"], swiftSettings: engine),
        .target(name: "Journal", dependencies: ["FileIO"], swiftSettings: engine),
        .target(
            name: "CacheFile", dependencies: ["Journal", "FileIO", "CSys"], swiftSettings: engine),
        .target(name: "BlockStore", dependencies: ["FileIO", "COpenSSL"], swiftSettings: engine),
        .target(
            name: "BlockCache",
            dependencies: [
                "CacheFile", "Journal", "BlockStore", "FileIO", "CSys",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: engine),

        // Blocks in a bucket; the engine never imports these.
        .target(
            name: "BlockCodec",
            dependencies: ["BlockStore", "FileIO", "COpenSSL", "CZlib", "CZstd", "CLZ4"],
            swiftSettings: strict),
        .target(
            name: "S3IO",
            dependencies: [
                "BlockCodec", "BlockStore", "FileIO", "COpenSSL", "CCurl", "CExpat",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        // What both programs are told about a volume.
        .target(
            name: "VolumeOptions",
            dependencies: [
                "S3IO", "BlockCodec", "BlockStore", "FileIO",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        .executableTarget(
            name: "s3backer",
            dependencies: [
                "VolumeOptions", "S3IO", "BlockCodec", "BlockCache", "BlockStore", "CacheFile",
                "FileIO", "CSys",
                "CFuse", "CDaemon",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: testable),
        .executableTarget(
            name: "cachecheck",
            dependencies: [
                "VolumeOptions", "BlockCache", "CacheFile", "Journal", "BlockStore", "FileIO",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        // Tests, and what they share.
        .target(
            name: "Simulation", dependencies: ["FileIO"], path: "Tests/Simulation",
            swiftSettings: strict),
        .target(
            name: "CrashSim",
            dependencies: [
                "Simulation", "BlockCache", "BlockStore", "CacheFile", "Journal", "FileIO",
            ],
            path: "Tests/CrashSim", swiftSettings: strict),
        .executableTarget(
            name: "crashsim", dependencies: ["CrashSim"], path: "Tests/crashsim-tool",
            swiftSettings: strict),
        .executableTarget(
            name: "enginebench",
            dependencies: [
                "BlockCache", "BlockStore", "CacheFile", "Journal", "FileIO",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/EngineBench", swiftSettings: strict),
        .testTarget(
            name: "CrashSimulationTests", dependencies: ["CrashSim", "FileIO"],
            swiftSettings: strict),
        .target(
            name: "TestSupport", dependencies: ["CacheFile", "Journal", "FileIO"],
            path: "Tests/TestSupport", swiftSettings: strict),
        .executableTarget(
            name: "make-golden", dependencies: ["TestSupport"], path: "Tests/MakeGolden",
            swiftSettings: strict),
        .testTarget(
            name: "FileIOTests", dependencies: ["TestSupport", "FileIO", "CSys", "Simulation"],
            swiftSettings: strict),
        .testTarget(
            name: "JournalTests", dependencies: ["TestSupport", "Journal", "FileIO", "Simulation"],
            swiftSettings: strict),
        .testTarget(
            name: "CacheFileTests",
            dependencies: ["TestSupport", "CacheFile", "Journal", "FileIO", "Simulation"],
            swiftSettings: strict),
        .testTarget(
            name: "cachecheckTests",
            dependencies: [
                "TestSupport", "Simulation", "CacheFile", "Journal", "FileIO", "cachecheck",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation", "FileIO"], swiftSettings: strict),
        .testTarget(
            name: "BlockStoreTests", dependencies: ["BlockStore", "FileIO"],
            swiftSettings: strict),
        .testTarget(
            name: "BlockCodecTests", dependencies: ["BlockCodec", "BlockStore", "FileIO"],
            swiftSettings: strict),
        .testTarget(
            name: "BlockCacheTests",
            dependencies: [
                "TestSupport", "Simulation", "BlockCache", "BlockStore", "CacheFile", "FileIO",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "s3backerTests",
            dependencies: [
                "s3backer", "VolumeOptions", "BlockCodec", "BlockCache", "BlockStore", "CacheFile",
            ],
            swiftSettings: strict),
        .systemLibrary(name: "CEpoll", path: "Tests/CEpoll"),
        .target(
            name: "S3TestServers", dependencies: ["CEpoll"], path: "Tests/S3TestServers",
            swiftSettings: strict),
        .executableTarget(
            name: "s3torture",
            dependencies: [
                "S3IO", "BlockStore", "FileIO", "S3TestServers", "Simulation",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/S3Torture", swiftSettings: strict),
        .executableTarget(
            name: "netproxy",
            dependencies: [
                "S3TestServers", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/netproxy-tool", swiftSettings: strict),
        .executableTarget(
            name: "nullmount", dependencies: ["CFuse"], path: "Benchmarks/nullmount",
            swiftSettings: strict),
        .testTarget(
            name: "S3IOTests",
            dependencies: [
                "S3IO", "BlockCodec", "BlockStore", "FileIO", "S3TestServers", "TestSupport",
            ],
            swiftSettings: strict),
        .target(
            name: "MountSupport",
            dependencies: ["TestSupport", "Simulation", "s3backer", "cachecheck"],
            path: "Tests/MountSupport", swiftSettings: strict),
        .testTarget(
            name: "S3MountTests",
            dependencies: [
                "MountSupport", "TestSupport", "BlockStore", "CacheFile", "S3TestServers", "CSys",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "MountTests",
            dependencies: [
                "MountSupport", "TestSupport", "Simulation", "S3TestServers", "CacheFile",
                "Journal", "FileIO", "CSys", "nullmount",
            ],
            swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
