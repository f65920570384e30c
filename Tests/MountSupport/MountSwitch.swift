import Foundation
import Glibc
import Testing

/// Whether tests that mount may run here.
package let canMount =
    ProcessInfo.processInfo.environment["S3BACKER_TEST_ALL"] == "1" && geteuid() == 0
    && access("/dev/fuse", R_OK | W_OK) == 0
package let mountReason: Comment = "needs S3BACKER_TEST_ALL=1, root and /dev/fuse"

/// Whether the real s3backer may be mounted, too.
package let canMountReal = canMount && access(MountedDaemon.real, X_OK) == 0
package let mountRealReason: Comment =
    "needs S3BACKER_TEST_ALL=1, root, /dev/fuse and the Debian package s3backer"
