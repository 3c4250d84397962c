// Raw ids of one user → the inputs of the user tower, by a bundle's encoder.npz and snapshot: the codes, ages, counts
// and rates that karec.features (Python) gives, bit for bit.
//
//   auto encoder = karec::UserEncoder::open(bundle, true);
//   std::vector<std::int64_t> codes(encoder->n_codes());
//   std::vector<float> numbers(encoder->n_numbers());
//   auto status = encoder->encode({.user_id = 42}, "home", now, codes, numbers);
//
// Stages does this by itself for a request with a `user`; a host whose tower runs elsewhere calls it.
//
// Functions never throw. An encoder never changes: any number of threads may use one, and its copies, at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "karec/array.hpp"
#include "karec/bundle.hpp"
#include "karec/export.hpp"
#include "karec/status.hpp"

namespace karec {

// A user as the host knows it at the request's moment. What is not given is what the bundle's snapshot knows. Ids that
// the snapshot does not know are allowed: a user without a row has the codes of the unknown, and a work without a row
// keeps its place in the list, without codes.
struct UserState {
    std::int64_t user_id = 0;
    // Ids, oldest first, of any length; the last ones are read.
    std::optional<std::span<const std::int64_t>> history;  // works that the user enjoyed
    std::optional<std::span<const std::int64_t>> skipped;  // works that were shown and passed over
    std::optional<std::span<const std::int64_t>> follows;  // creators
    std::optional<std::span<const std::int64_t>> friends;  // users
    // Counters of the user by name, "count_exposed" and "count_<label>", finite and ≥ 0: over all scenes, and in the
    // scene of the request. Each as long as counter_names, or empty; names are of one of them at least.
    std::span<const std::string_view> counter_names;
    std::span<const float> counters;
    std::span<const float> scene_counters;
};

// An input or output of a model.
struct TensorSpec {
    std::string name;
    DType dtype = DType::float32;     // or int64
    std::vector<std::int64_t> shape;  // −1: any size
};

struct EncoderTables;

class KAREC_API UserEncoder {
  public:
    // Maps the files that the encoder reads; O(users + works) for their ids, 8 to 16 bytes each. With `verify`, every
    // byte of the files is read and compared with the manifest's sums. unavailable: the bundle has no encoder.npz or no
    // snapshot. bad_format: one is damaged, newer, or they do not fit together. io_error.
    static Result<UserEncoder> open(const Bundle& bundle, bool verify) noexcept;

    // What encode() gives, one row each: first those of int64, side by side in `codes`, then those of float32, in
    // `numbers`.
    std::span<const TensorSpec> outputs() const noexcept;
    std::size_t n_codes() const noexcept;
    std::size_t n_numbers() const noexcept;

    // `scene`: its name; `time_ms`: the moment of the request. Refuses (invalid_argument) counters of another number
    // than their names, negative or not finite, or without one that the encoder reads; output of another length.
    // O(outputs); allocates nothing after a thread's first calls.
    Status encode(const UserState& user, std::string_view scene, std::int64_t time_ms, std::span<std::int64_t> codes,
                  std::span<float> numbers) const noexcept;

  private:
    friend class ItemEncoder;  // reads the same tables
    explicit UserEncoder(std::shared_ptr<const EncoderTables> tables) noexcept;
    std::shared_ptr<const EncoderTables> tables_;
};

}  // namespace karec
