import ArgumentParser
import CacheFile
import FileIO

struct BundleCommand: Command {
    static let configuration = CommandConfiguration(
        commandName: "bundle",
        abstract: "Writes the metadata alone to a new file, for a bug report.",
        discussion: """
            Without a byte of any block; with checksums and entity tags of blocks, the names of \
            host and mount point, and no secret. Commands that do not read blocks take the bundle \
            in place of the cache file.
            """)

    @Argument(help: ArgumentHelp("The bundle; must not exist yet.", valueName: "OUT"))
    var output: String

    @OptionGroup var common: CommonOptions

    func execute() -> Int32 {
        do throws(Subject.Obstacle) {
            return try bundle()
        } catch {
            return fail("bundle", common, error)
        }
    }

    private func bundle() throws(Subject.Obstacle) -> Int32 {
        let opened: OpenFile
        do throws(Failure) { opened = try OpenFile(common.file) } catch { throw .failed(error) }
        if opened.isBundle { throw .failed(.bundle(common.file)) }
        let superblock: Superblock
        let geometry: Geometry
        let recovered = try? Recovery.run(opened.file, goesOn: true)
        do throws(CacheFileError) {
            superblock = try SuperblockSet.read(opened.file, Refusals(goesOn: true)).current
            if let recovered {
                geometry = recovered.geometry
            } else {
                var unused: [Finding] = []
                geometry = try ZoneTable.readGeometry(
                    superblock, opened.file, seeds: SeedSpace(fileUUID: superblock.fileUUID),
                    findings: &unused)
            }
        } catch {
            throw Subject.Obstacle(error, common.file)
        }
        do throws(FileError) {
            let target = try NewFile(output)
            var writer = try BundleWriter(
                opened.file, superblock, geometry, recovered, target)
            do throws(FileError) { try writer.write() } catch {
                target.discard()
                throw error
            }
            try target.finish()
            return report(target.byteCount)
        } catch {
            throw .failed(Failure(writing: error))
        }
    }

    private func report(_ bytes: Int) -> Int32 {
        guard common.json else {
            return Output.finish(
                "\(Text.safe(output)): \(Text.size(UInt64(bytes))) of metadata\n",
                ExitStatus.sound)
        }
        let object = JSON.object([
            ("cachecheck", .number(JSON.version)), ("command", .string("bundle")),
            ("file", .string(common.file)), ("status", .number(0)), ("bundle", .string(output)),
            ("bytes", .number(bytes)),
        ])
        return Output.finish(object.text + "\n", ExitStatus.sound)
    }
}
