import CFuse
import Glibc

/// A mount that does nothing: reads are zeros, writes succeed at once. Nothing built on FUSE is
/// faster, so it is what `scripts/bench` measures against.
///
///     nullmount BYTES MOUNTPOINT        until it is unmounted
///
/// Threads, sizes and options are those of `FuseSession` of s3backer; a test compares what the
/// kernel has of both. At its end it prints the largest read and the largest write.
@main
enum NullMount {
    static let threads: UInt32 = 10

    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let size = Int(arguments[1]), size > 0 else {
            complain("usage: nullmount BYTES MOUNTPOINT")
            exit(16)
        }
        nullFile.size = size
        exit(serve(arguments[2]))
    }

    private static func serve(_ mountPoint: String) -> Int32 {
        let options =
            "fsname=null,subtype=nullmount,default_permissions,nodev,nosuid,"
            + "max_read=\(NullFile.requestBytesMax)" + (geteuid() == 0 ? ",allow_other" : "")
        let words = ["nullmount", "-o", options]
        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        argv.append(nil)
        var operations = nullOperations()
        guard let session = cfuse_session_new(3, &argv, &operations, nil),
            fuse_set_signal_handlers(session) == 0, fuse_session_mount(session, mountPoint) == 0
        else {
            complain("nullmount: cannot mount \(mountPoint)")
            return 1
        }
        let result = cfuse_session_loop(session, threads)
        fuse_session_unmount(session)
        fuse_remove_signal_handlers(session)
        fuse_session_destroy(session)
        print(
            "largest read \(nullFile.largestRead.load(ordering: .relaxed)),",
            "largest write \(nullFile.largestWrite.load(ordering: .relaxed))")
        return result < 0 ? 1 : 0
    }

    private static func complain(_ text: String) {
        let line = Array((text + "\n").utf8)
        _ = write(2, line, line.count)
    }
}
