#include "base/regular_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace karec {
namespace {

Status read_error(const std::string& path, int error) {
    return {Code::io_error, "cannot read '" + path + "': " + std::system_category().message(error), error};
}

}  // namespace

Result<RegularFile> RegularFile::open(const std::string& path) {
    // Without O_NONBLOCK, opening a FIFO waits for its writer.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return read_error(path, errno);
    struct stat about{};
    const int error = ::fstat(descriptor, &about) == 0 ? 0 : errno;
    RegularFile file(descriptor, static_cast<std::size_t>(about.st_size));
    if (error != 0 || S_ISDIR(about.st_mode)) return read_error(path, error != 0 ? error : EISDIR);
    if (!S_ISREG(about.st_mode)) {
        return Status{Code::io_error, "cannot read '" + path + "': not a regular file", EINVAL};
    }
    return file;
}

RegularFile::RegularFile(RegularFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(std::exchange(other.size_, 0)) {}

RegularFile& RegularFile::operator=(RegularFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(size_, other.size_);
    return *this;
}

RegularFile::~RegularFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

Result<FileCopy> FileCopy::read(const std::string& path) {
    const auto file = RegularFile::open(path);
    if (!file.ok()) return file.status();
    FileCopy copy;
    copy.memory_ = Buffer(file.value().size());
    const std::span<std::byte> to = copy.memory_.as<std::byte>();
    for (std::size_t at = 0; at < to.size();) {
        const std::size_t n_bytes = std::min(to.size() - at, std::size_t{1} << 30);
        const ssize_t n = ::read(file.value().descriptor(), to.data() + at, n_bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return read_error(path, errno);
        if (n == 0) return Status{Code::io_error, "cannot read '" + path + "': the file became shorter meanwhile", EIO};
        at += static_cast<std::size_t>(n);
    }
    copy.bytes_ = to;
    return copy;
}

Result<MappedFile> MappedFile::open(const std::string& path) {
    const auto file = RegularFile::open(path);
    if (!file.ok()) return file.status();
    MappedFile mapped;
    const std::size_t size = file.value().size();
    if (size == 0) return mapped;
    void* at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.value().descriptor(), 0);
    if (at == MAP_FAILED) return read_error(path, errno);
#if defined(MADV_HUGEPAGE)
    ::madvise(at, size, MADV_HUGEPAGE);
#endif
    mapped.bytes_ = {static_cast<const std::byte*>(at), size};
    return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
}

MappedFile::~MappedFile() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace karec
