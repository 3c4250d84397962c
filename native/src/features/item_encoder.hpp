// Inputs of candidate items, and their crosses with one user, as karec/features/encoder.py defines them.
//
// Algorithm  reads the row of each item in the columns of the bundle's snapshot: codes by hash tables, numbers by the
//            scales of the encoder; then crosses (features/crosses.hpp).
// Cost       O(N·(I + J)) column reads for N items, I categories, J numbers, and the cost of the crosses.
// Bits       those of Python: the same functions of the same stored values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/scratch.hpp"
#include "features/cross_tables.hpp"
#include "features/encoder_tables.hpp"

namespace karec {

// The inputs of one user: outputs of a UserEncoder, concatenated.
struct EncodedUser {
    ScratchVector<std::int64_t> codes;
    ScratchVector<float> numbers;
};

// The inputs of N items, rows first, for one user.
struct EncodedItems {
    ScratchVector<std::int64_t> ids;      // (N, I)
    ScratchVector<float> numbers;         // (N, J)
    ScratchVector<std::int64_t> cowatch;  // (N,)
    ScratchVector<float> crosses;         // (N, X)
    ScratchVector<float> dense;           // (N, F)
};

// Never changes: any number of threads may use one, and its copies.
class ItemEncoder {
  public:
    // Shares the tables of `users`.
    explicit ItemEncoder(const UserEncoder& users);

    // "item_ids", "item_numbers", "cowatch", "crosses" and "dense", in the order of EncodedItems; −1 rows.
    std::span<const TensorSpec> outputs() const noexcept { return outputs_; }

    // Encodes the items `ids` at `time_ms` for `user`. An item that the snapshot lacks has zeros. `has_dense`: also
    // writes `dense`.
    Status encode(std::span<const std::int64_t> ids, std::int64_t time_ms, const EncodedUser& user, bool has_dense,
                  EncodedItems& items) const;

    // Finds the category of each name in the codes of items, for compute_tables. bad_format: items lack it, or a column
    // of `weights` is not of one of them.
    Status find_categories(std::span<const std::string> names, const CrossWeights& weights,
                           std::vector<std::size_t>& categories) const;
    ScratchVector<CrossTable> compute_tables(const EncodedUser& user, const CrossWeights& weights,
                                             std::span<const std::size_t> categories) const;

  private:
    using Shares = ScratchVector<std::span<const double>>;
    // The inputs of crosses that are not of items or a user, which point into `shares`.
    CrossInputs shared_inputs(Shares& shares) const;
    CrossInputs user_inputs(const EncodedUser& user, Shares& shares) const;
    std::span<const std::int64_t> codes_of(const EncodedUser& user, std::string_view output) const noexcept;
    void encode_columns(std::span<const std::int64_t> ids, std::int64_t time_ms, EncodedItems& items) const;
    Status encode_crosses(const EncodedUser& user, EncodedItems& items) const;
    void encode_dense(const EncodedUser& user, EncodedItems& items) const;

    std::shared_ptr<const EncoderTables> tables_;
    std::vector<std::size_t> shared_;  // columns of item_ids that users have too
    std::size_t creator_ = 0;          // column of item_ids; 0 (the item's own id): items have no creators
    std::vector<TensorSpec> outputs_;
};

}  // namespace karec
