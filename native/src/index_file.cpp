#include "index_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <system_error>

#include "xxh64.hpp"

namespace karec {
namespace {

constexpr char kMagic[8] = {'k', 'a', 'r', 'e', 'c', 'i', 'd', 'x'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kByteOrder = 0x01020304;
constexpr std::size_t kAlign = 64;

struct FileHeader {
    char magic[8];
    std::uint32_t version;
    std::uint32_t byte_order;
    std::uint64_t file_bytes;
    std::uint64_t n_rows;
    std::uint32_t dim;
    std::uint32_t dtype;
    std::int64_t model_version;
    std::uint64_t generation;
    std::uint64_t n_sections;
    std::uint64_t checksum;
    std::uint64_t reserved[7];  // zero
};
static_assert(sizeof(FileHeader) == 128);

enum SectionKind : std::uint32_t { kIds = 1, kRows = 2, kIdMap = 3, kColumn = 4 };

struct SectionEntry {
    std::uint32_t kind;
    std::uint32_t dtype;  // of a column; 0 for the others
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint64_t checksum;
    char name[kMaxColumnName + 1];  // of a column, padded with zeros; empty for the others
};
static_assert(sizeof(SectionEntry) == 128);

std::uint64_t aligned(std::uint64_t offset) noexcept {
    return (offset + kAlign - 1) / kAlign * kAlign;
}

std::uint64_t table_checksum(FileHeader header, std::span<const std::byte> table) noexcept {
    header.checksum = 0;
    Xxh64 sum;
    sum.update(std::as_bytes(std::span(&header, 1)));
    sum.update(table);
    return sum.digest();
}

class NewFile {
  public:
    explicit NewFile(const std::string& path) : path_(path) {
        // A writer that was killed may have left a file of this very name: in containers process ids repeat.
        static std::atomic<unsigned> serial{0};
        for (int attempt = 0; attempt < 1000; ++attempt) {
            aside_ = path + "." + std::to_string(::getpid()) + "-" + std::to_string(serial++) + ".tmp";
            file_ = ::open(aside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
            if (file_ >= 0 || errno != EEXIST) return;
        }
    }
    NewFile(const NewFile&) = delete;
    NewFile& operator=(const NewFile&) = delete;
    ~NewFile() {
        if (file_ < 0) return;
        ::close(file_);
        ::unlink(aside_.c_str());
    }

    bool opened() const noexcept { return file_ >= 0; }

    bool append(std::span<const std::byte> bytes) const noexcept {
        while (!bytes.empty()) {
            const ssize_t written = ::write(file_, bytes.data(), std::min<std::size_t>(bytes.size(), 1u << 30));
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) return false;
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
        return true;
    }

    bool publish() noexcept {
        if (::fsync(file_) != 0 || ::rename(aside_.c_str(), path_.c_str()) != 0) return false;
        ::close(file_);
        file_ = -1;
        const std::size_t slash = path_.rfind('/');
        const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path_.substr(0, slash);
        const int entry = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (entry < 0) return false;
        // Some file systems cannot sync a folder (EINVAL); the rename itself stands.
        const bool synced = ::fsync(entry) == 0 || errno == EINVAL;
        ::close(entry);
        return synced;
    }

  private:
    std::string path_;
    std::string aside_;
    int file_ = -1;
};

Status damaged(const std::string& what) {
    return Status::bad_format("not a whole karec index file: " + what);
}

Status check_header(std::span<const std::byte> file, FileHeader& header) {
    if (file.size() < sizeof header) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, the header alone has " +
                       std::to_string(sizeof header));
    }
    std::memcpy(&header, file.data(), sizeof header);
    if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return damaged("it does not begin with 'karecidx'");
    if (header.byte_order != kByteOrder) return damaged("its byte order is foreign");
    if (header.version != kVersion) {
        return Status::bad_format("the index file has version " + std::to_string(header.version) +
                                  ", this karec reads version " + std::to_string(kVersion));
    }
    if (header.file_bytes != file.size()) {
        return damaged("it has " + std::to_string(file.size()) + " bytes, its header says " +
                       std::to_string(header.file_bytes));
    }
    if (header.n_sections < 3 || header.n_sections > (file.size() - sizeof header) / sizeof(SectionEntry)) {
        return damaged("its header names " + std::to_string(header.n_sections) + " sections");
    }
    const auto table = file.subspan(sizeof header, header.n_sections * sizeof(SectionEntry));
    if (table_checksum(header, table) != header.checksum) return damaged("header or section table is altered");
    const auto dtype = static_cast<DType>(header.dtype);
    const bool no_type = dtype != DType::float16 && dtype != DType::float32;
    const std::uint64_t most_rows = std::min<std::uint64_t>(std::numeric_limits<std::int32_t>::max(), file.size());
    if (no_type || header.dim == 0 || header.dim > kMaxDim || header.n_rows > most_rows) {
        return damaged("its header says " + std::to_string(header.n_rows) + " rows of " + std::to_string(header.dim) +
                       " dimensions, type " + std::to_string(header.dtype));
    }
    for (const std::uint64_t word : header.reserved) {
        if (word != 0) return damaged("its header holds unknown fields");
    }
    return {};
}

// The section's bytes, once place, size, the gap before it and its checksum are right. `end` moves past it.
Result<std::span<const std::byte>> section_bytes(std::span<const std::byte> file, const SectionEntry& entry,
                                                 std::uint64_t expected_bytes, std::uint64_t& end) {
    const std::uint64_t begin = aligned(end);
    if (entry.bytes != expected_bytes || entry.offset != begin || begin > file.size() ||
        entry.bytes > file.size() - begin) {
        return damaged("a section's place or size does not fit");
    }
    for (std::uint64_t at = end; at < begin; ++at) {
        if (file[at] != std::byte{0}) return damaged("the gap at byte " + std::to_string(at) + " is altered");
    }
    const auto bytes = file.subspan(begin, entry.bytes);
    if (xxh64(bytes) != entry.checksum) return damaged("the section at byte " + std::to_string(begin) + " is altered");
    end = begin + entry.bytes;
    return bytes;
}

Status read_columns(std::span<const std::byte> file, std::span<const SectionEntry> entries, std::uint64_t n_rows,
                    std::uint64_t& end, std::vector<Column>& columns) {
    for (const SectionEntry& entry : entries) {
        const auto dtype = static_cast<DType>(entry.dtype);
        const std::size_t length = ::strnlen(entry.name, sizeof entry.name);
        if (entry.kind != kColumn || size_of(dtype) == 0 || length == 0 || length > kMaxColumnName) {
            return damaged("an entry of its section table names no column");
        }
        auto bytes = section_bytes(file, entry, n_rows * size_of(dtype), end);
        if (!bytes.ok()) return bytes.status();
        const std::string_view name(entry.name, length);
        for (const Column& column : columns) {
            if (column.name == name) return damaged("column '" + std::string(name) + "' stands twice");
        }
        columns.push_back({name, dtype, bytes.value()});
    }
    return {};
}

template <class T>
std::span<const T> elements(std::span<const std::byte> bytes) noexcept {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

}  // namespace

Status write_index(const std::string& path, const IndexContents& contents) {
    std::vector<std::span<const std::byte>> sections = {
        std::as_bytes(contents.ids), {contents.rows.base, contents.rows.bytes()}, std::as_bytes(contents.buckets)};
    std::vector<SectionEntry> table(3);
    for (std::uint32_t kind = kIds; kind <= kIdMap; ++kind) table[kind - 1].kind = kind;
    for (const Column& column : contents.columns) {
        SectionEntry entry{};
        entry.kind = kColumn;
        entry.dtype = static_cast<std::uint32_t>(column.dtype);
        column.name.copy(entry.name, kMaxColumnName);
        table.push_back(entry);
        sections.push_back(column.bytes);
    }
    std::uint64_t end = sizeof(FileHeader) + table.size() * sizeof(SectionEntry);
    for (std::size_t s = 0; s < table.size(); ++s) {
        table[s].offset = aligned(end);
        table[s].bytes = sections[s].size();
        table[s].checksum = xxh64(sections[s]);
        end = table[s].offset + table[s].bytes;
    }
    FileHeader header{};
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.byte_order = kByteOrder;
    header.file_bytes = end;
    header.n_rows = contents.ids.size();
    header.dim = static_cast<std::uint32_t>(contents.rows.dim);
    header.dtype = static_cast<std::uint32_t>(contents.rows.dtype);
    header.model_version = contents.model_version;
    header.generation = contents.generation;
    header.n_sections = table.size();
    header.checksum = table_checksum(header, std::as_bytes(std::span(table)));

    const auto refused = [&path] {
        return Status{Code::io_error, "cannot write '" + path + "': " + std::system_category().message(errno), errno};
    };
    NewFile file(path);
    if (!file.opened() || !file.append(std::as_bytes(std::span(&header, 1))) ||
        !file.append(std::as_bytes(std::span(table)))) {
        return refused();
    }
    end = sizeof header + table.size() * sizeof(SectionEntry);
    for (std::size_t s = 0; s < table.size(); ++s) {
        const std::byte zeros[kAlign] = {};
        if (!file.append({zeros, table[s].offset - end}) || !file.append(sections[s])) return refused();
        end = table[s].offset + table[s].bytes;
    }
    return file.publish() ? Status{} : refused();
}

Result<IndexContents> read_index(std::span<const std::byte> file) {
    FileHeader header;
    if (Status status = check_header(file, header); !status.ok()) return status;
    const auto table = elements<SectionEntry>(file.subspan(sizeof header, header.n_sections * sizeof(SectionEntry)));
    for (std::uint32_t kind = kIds; kind <= kIdMap; ++kind) {
        if (table[kind - 1].kind != kind || table[kind - 1].dtype != 0 || table[kind - 1].name[0] != 0) {
            return damaged("its sections are out of order");
        }
    }
    IndexContents contents;
    contents.model_version = header.model_version;
    contents.generation = header.generation;
    contents.rows.n = header.n_rows;
    contents.rows.dim = header.dim;
    contents.rows.dtype = static_cast<DType>(header.dtype);
    std::uint64_t end = sizeof header + table.size_bytes();
    auto ids = section_bytes(file, table[0], header.n_rows * sizeof(std::int64_t), end);
    if (!ids.ok()) return ids.status();
    auto rows = section_bytes(file, table[1], contents.rows.bytes(), end);
    if (!rows.ok()) return rows.status();
    auto buckets = section_bytes(file, table[2], id_bucket_count(header.n_rows) * sizeof(IdBucket), end);
    if (!buckets.ok()) return buckets.status();
    if (Status status = read_columns(file, table.subspan(3), header.n_rows, end, contents.columns); !status.ok()) {
        return status;
    }
    if (end != file.size()) return damaged("something follows its last section");
    contents.ids = elements<std::int64_t>(ids.value());
    contents.rows.base = rows.value().data();
    contents.buckets = elements<IdBucket>(buckets.value());
    if (!id_map_matches(contents.buckets, contents.ids)) return damaged("its id map does not fit its ids");
    return contents;
}

}  // namespace karec
