import Glibc

private let usage = """
    enginebench flushes|commit|open|open16m|release|check [DIRECTORY]
    Measures the engine without FUSE, on a cache file in DIRECTORY (default /var/tmp). Prints one
    line of figures, as ratios to something measured in the same run.
      flushes  how many flushes it takes to stream blocks through a cache
      commit   write and fsync by 16 threads against 1 thread
      open     opening a file of a million slots against reading its metadata
      open16m  the same with 16 million slots; takes 64 GiB of disk space
      check    cachecheck of a million slots, and of all bytes, against reading the same
      release  how long a writer waits in a full cache, in round trips of the store
    """

/// The program; returns its exit status.
func runBench(_ arguments: [String]) -> Int32 {
    guard let name = arguments.first, arguments.count <= 2 else {
        print(usage)
        return 64
    }
    let directory = arguments.count > 1 ? arguments[1] : "/var/tmp"
    do {
        switch name {
        case "flushes": try FlushBench.run(directory)
        case "commit": try CommitBench.run(directory)
        case "open": try OpenBench.run(directory, slots: 1_000_000)
        case "open16m": try OpenBench.run(directory, slots: 16_000_000)
        case "check": try CheckBench.run(directory)
        case "release": try ReleaseBench.run(directory)
        default:
            print(usage)
            return name == "--help" ? 0 : 64
        }
    } catch {
        print("enginebench: \(error)")
        return 1
    }
    return 0
}

/// Seconds of the monotonic clock.
func seconds() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

func median(_ numbers: [Double]) -> Double { numbers.sorted()[numbers.count / 2] }

/// Two digits behind the point.
func short(_ number: Double) -> String {
    let hundredths = Int((number * 100).rounded())
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
}
