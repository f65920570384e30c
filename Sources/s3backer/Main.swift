import Glibc

@main
enum Main {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        VisibleArguments.hideSecrets()
        exit(runProgram(arguments))
    }
}
