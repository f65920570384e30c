import Glibc
import VolumeOptions

/// Runs the program on a command line without its name.
///
/// - Returns: The exit status.
func runProgram(_ arguments: [String]) -> Int32 {
    Daemon.fillStandardStreams()
    signal(SIGPIPE, SIG_IGN)
    // A parent may have blocked what asks us to end, and that is inherited.
    var none = sigset_t()
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, nil)
    let plan: MountPlan
    do {
        let options = try Options.read(Arguments.normalise(arguments))
        if let maintenance = try Maintenance(options) { return maintenance.run() }
        plan = try Validation.plan(options)
        if !plan.isFlush { try PathChecks.fuseDevice() }
    } catch let error as StartupError {
        printLine("\(Program.name): \(error.message)")
        return 1
    } catch {
        // A request for help or the version; the real s3backer answers on standard error, too.
        printLine(Options.fullMessage(for: error))
        return 0
    }
    if plan.isForeground || plan.isFlush { return Mount(plan, readiness: nil).run() }
    return Daemon.run(plan) { Mount(plan, readiness: $0).run() }
}
