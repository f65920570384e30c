import Glibc

@main
enum Main {
    static func main() {
        exit(runProgram(Array(CommandLine.arguments.dropFirst())))
    }
}
