// UserEncoder computes the inputs of the user tower from raw ids of one user, by a bundle's encoder.npz and snapshot:
// codes, ages, counts and rates, with the same bits as karec.features (Python).
//
//   auto encoder = karec::UserEncoder::open(bundle, true);
//   std::vector<std::int64_t> codes(encoder->n_codes());
//   std::vector<float> numbers(encoder->n_numbers());
//   auto status = encoder->encode({.user_id = 42}, "home", now, codes, numbers);
//
// Stages calls it for a request with a `user`. Hosts call it if they run the user tower outside of karec.
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

// The user of one request. A missing member is read from the bundle's snapshot. Ids that are not in the snapshot are
// allowed: the profile of an unknown user has codes 0, and an unknown work keeps its place in its list, with codes 0.
struct UserState {
    std::int64_t user_id = 0;
    // Ids, oldest first, of any length; the last ones are read.
    std::optional<std::span<const std::int64_t>> history;  // works that the user enjoyed
    std::optional<std::span<const std::int64_t>> skipped;  // works that were shown and that the user skipped
    std::optional<std::span<const std::int64_t>> follows;  // creators
    std::optional<std::span<const std::int64_t>> friends;  // users
    // Counters of the user by name, "count_exposed" and "count_<label>", finite and ≥ 0: over all scenes, and in the
    // scene of the request. Each is as long as counter_names, or empty. Names without any counters are an error.
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

    // Outputs of encode(), one row each: first the int64 outputs, which are concatenated in `codes`, then the float32
    // outputs, which are concatenated in `numbers`.
    std::span<const TensorSpec> outputs() const noexcept;
    std::size_t n_codes() const noexcept;
    std::size_t n_numbers() const noexcept;

    // Writes the inputs of `user` in the scene named `scene` at `time_ms`. invalid_argument: counters that differ in
    // number from their names, are negative or not finite, or lack one that the encoder reads; output of another
    // length. O(outputs); allocates nothing after the first calls of a thread.
    Status encode(const UserState& user, std::string_view scene, std::int64_t time_ms, std::span<std::int64_t> codes,
                  std::span<float> numbers) const noexcept;

  private:
    friend class ItemEncoder;  // reads the same tables
    explicit UserEncoder(std::shared_ptr<const EncoderTables> tables) noexcept;
    std::shared_ptr<const EncoderTables> tables_;
};

}  // namespace karec
