import TestSupport

// Writes the images of Tests/Golden: swift run -c release make-golden
for name in GoldenImages.names {
    try writeFile(SourceTree.golden(name), GoldenImages.make(name))
    print(SourceTree.golden(name))
}
