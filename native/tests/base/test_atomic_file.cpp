// The order of the system calls of AtomicFile: fsync, rename and unlink of this program replace those of the C library
// and record their calls.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/atomic_file.hpp"
#include "check.hpp"
#include "stages/bundle_files.hpp"

using namespace karec;

namespace {

std::vector<std::string>& calls() {
    static std::vector<std::string> all;
    return all;
}
std::string refused_call;
int refusal = EIO;

bool record_call(const std::string& call) {
    calls().push_back(call);
    if (call != refused_call) return true;
    errno = refusal;
    return false;
}

// The bytes "whole" at `path`, over "old"; the call `refuse` fails with `error`.
struct WriteResult {
    explicit WriteResult(const char* refuse, int error = EIO) {
        std::filesystem::create_directory(folder.folder(1));
        write_file(path, "old");
        calls().clear();
        refused_call = refuse;
        refusal = error;
        {
            AtomicFile file(path);
            const std::string text = "whole";
            published = file.opened() && file.append(std::as_bytes(std::span(text))) && file.publish();
        }
        refused_call.clear();
    }
    std::size_t files() const {
        std::size_t n = 0;
        for (const auto& entry : std::filesystem::directory_iterator(folder.folder(1))) n += entry.is_regular_file();
        return n;
    }
    BundleFolder folder;
    std::string path = folder.folder(1) + "/file";
    bool published = false;
};

}  // namespace

// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc reserves its own names
extern "C" int fsync(int file) {
    struct stat about{};
    ::fstat(file, &about);
    if (!record_call(S_ISDIR(about.st_mode) ? "sync folder" : "sync file")) return -1;
    return static_cast<int>(::syscall(SYS_fsync, file));
}
// NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): libc reserves its own names
extern "C" int rename(const char* from, const char* to) noexcept {
    if (!record_call("rename")) return -1;
    return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}

TEST(atomic_file_syncs_file_then_renames_then_syncs_folder) {
    const WriteResult written("");
    CHECK(written.published && read_file(written.path) == "whole" && written.files() == 1);
    CHECK((calls() == std::vector<std::string>{"sync file", "rename", "sync folder"}));
}

TEST(atomic_file_keeps_only_the_old_file_if_sync_or_rename_fails) {
    for (const char* call : {"sync file", "rename"}) {
        const WriteResult written(call);
        CHECK(!written.published && read_file(written.path) == "old" && written.files() == 1);
    }
}

TEST(atomic_file_fails_if_the_folder_cannot_be_synced) {
    const WriteResult written("sync folder");
    CHECK(!written.published && read_file(written.path) == "whole" && written.files() == 1);
    CHECK(WriteResult("sync folder", EINVAL).published);  // a file system that has no such call
}

TEST(atomic_file_has_all_pieces_in_order) {
    const BundleFolder folder;
    const std::string path = folder.root() + "/pieces";
    std::vector<std::byte> all(5'000'001);  // more than two huge pages
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::byte>(i * 131 >> 7);
    AtomicFile file(path);
    std::size_t at = 0;
    for (std::size_t length = 1; at < all.size(); at += length, length = length * 5 / 2 + 1) {
        CHECK(file.append(std::span(all).subspan(at, std::min(length, all.size() - at))));
    }
    CHECK(file.publish());
    std::vector<std::byte> found(all.size() + 1);
    std::FILE* again = std::fopen(path.c_str(), "rb");
    CHECK(again != nullptr && std::fread(found.data(), 1, found.size(), again) == all.size());
    if (again != nullptr) (void)std::fclose(again);
    found.resize(all.size());
    CHECK(found == all);
}
