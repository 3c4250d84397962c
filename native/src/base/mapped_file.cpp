#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace karec {

Result<MappedFile> MappedFile::open(const std::string& path) {
    const auto refused = [&path](int error) {
        return Status{Code::io_error, "cannot read '" + path + "': " + std::system_category().message(error), error};
    };
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return refused(errno);
    struct stat about{};
    if (::fstat(file, &about) != 0 || !S_ISREG(about.st_mode)) {
        const int error = S_ISDIR(about.st_mode) ? EISDIR : S_ISREG(about.st_mode) ? errno : EINVAL;
        ::close(file);
        return refused(error);
    }
    MappedFile mapped;
    const auto size = static_cast<std::size_t>(about.st_size);
    if (size > 0) {
        void* at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file, 0);
        const int error = errno;
        if (at == MAP_FAILED) {
            ::close(file);
            return refused(error);
        }
        ::madvise(at, size, MADV_HUGEPAGE);
        mapped.bytes_ = {static_cast<const std::byte*>(at), size};
    }
    ::close(file);
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
