// Writes a file completely or not at all: a temporary file in the same folder, synced and renamed to the path.
//
// Without publish() the destructor removes the temporary file. If a function returns false, errno has the reason;
// EEXIST of the constructor: the path exists and is not a regular file, which a rename would replace.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace karec {

class AtomicFile {
  public:
    explicit AtomicFile(const std::string& path) : path_(path) {
        struct stat there{};
        if (::lstat(path.c_str(), &there) == 0 && !S_ISREG(there.st_mode)) {
            errno = EEXIST;
            return;
        }
        // The name may exist: a killed writer leaves its file, and process ids repeat in containers.
        static std::atomic<unsigned> serial{0};
        for (int attempt = 0; attempt < 1000; ++attempt) {
            temporary_ = path + "." + std::to_string(::getpid()) + "-" + std::to_string(serial++) + ".tmp";
            file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
            if (file_ >= 0 || errno != EEXIST) return;
        }
        errno = EBUSY;
    }
    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() {
        if (file_ < 0) return;
        ::close(file_);
        ::unlink(temporary_.c_str());
    }

    bool opened() const noexcept { return file_ >= 0; }

    // Throws std::bad_alloc.
    bool append(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const std::size_t n_bytes = std::min(bytes.size(), kPiece - pending_.size());
            pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n_bytes));
            bytes = bytes.subspan(n_bytes);
            if (pending_.size() == kPiece && !write_pending()) return false;
        }
        return true;
    }

    bool publish() noexcept {
        if (!write_pending() || ::fsync(file_) != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) return false;
        ::close(file_);
        file_ = -1;
        const std::size_t slash = path_.rfind('/');
        const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
        const int entry = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (entry < 0) return false;
        // Some file systems cannot sync a folder (EINVAL). The file is renamed anyway.
        const bool is_synced = ::fsync(entry) == 0 || errno == EINVAL;
        ::close(entry);
        return is_synced;
    }

  private:
    // A huge page. File systems with large folios (ext4 since Linux 6.16, XFS) store pieces of this size at its
    // multiples in huge pages, which readers of the mapped file then use.
    static constexpr std::size_t kPiece = std::size_t{2} << 20;

    bool write_pending() noexcept {
        for (std::span<const std::byte> bytes = pending_; !bytes.empty();) {
            const ssize_t written = ::write(file_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return false;
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
        pending_.clear();
        return true;
    }

    std::vector<std::byte> pending_;
    std::string path_;
    std::string temporary_;
    int file_ = -1;
};

}  // namespace karec
