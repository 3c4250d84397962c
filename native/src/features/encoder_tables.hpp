// EncoderTables holds the encoder and the snapshot of a bundle, which the encoders of users and items read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "features/encoder_file.hpp"
#include "features/snapshot_files.hpp"
#include "karec/user_encoder.hpp"

namespace karec {

inline constexpr std::size_t kMaxEdges = 100;  // latest follows and friends of a user that are inputs

// The columns of a table that its TableCoder reads, each kind in the order of the coder.
struct TableColumns {
    StoredIds ids;
    std::vector<StoredColumn> categories;
    std::vector<StoredColumn> numbers;
    std::vector<StoredColumn> moments;
    std::vector<StoredColumn> counters;
};

struct EncoderTables {
    EncoderFile encoder;
    TableColumns users;
    TableColumns works;
    std::vector<std::string> scenes;           // names by code
    std::vector<StoredColumn> scene_counters;  // by user and scene; none if the snapshot does not have them
    StoredLists history;
    StoredLists skipped;
    StoredLists follows;
    StoredLists friends;
    // Categories that users and works have by the same name, in the order of works: the column of users, and the
    // vocabulary of works.
    std::vector<std::pair<const StoredColumn*, const Vocabulary*>> shared;
    std::vector<TensorSpec> outputs;  // of a UserEncoder
    std::size_t n_codes = 0;
    std::size_t n_numbers = 0;

    // Errors: see UserEncoder::open.
    static Result<std::shared_ptr<const EncoderTables>> open(const Bundle& bundle, bool verify);

    EncoderTables() = default;
    EncoderTables(const EncoderTables&) = delete;  // `shared` points into it
    EncoderTables& operator=(const EncoderTables&) = delete;

    std::int64_t find_scene(std::string_view name) const noexcept;  // its code, −1: unknown

  private:
    Status read(const Bundle& bundle, bool verify);
    void describe_outputs();
};

// Each function reads row `row` of a table. For −1 (unknown) all results are 0.
// Writes the counters of a row, one for each column.
void read_counters(std::span<const StoredColumn> columns, std::int64_t row, std::span<float> to) noexcept;

// Writes the codes of a row: that of `id` if the table encodes it, then those of its categories.
void encode_categories(const TableCoder& coder, const TableColumns& columns, std::int64_t id, std::int64_t row,
                       std::span<std::int64_t> out) noexcept;

// Writes n_numbers() numbers of a row: scaled numbers, ages at `time_ms`, log count and rates of `counts`, which may be
// those of an unknown row.
void encode_numbers(const TableCoder& coder, const TableColumns& columns, std::int64_t row, std::int64_t time_ms,
                    std::span<const float> counts, std::span<float> out) noexcept;

}  // namespace karec
