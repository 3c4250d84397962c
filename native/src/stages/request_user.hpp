// The user of one request: encoded, and as a query for each model version of the index.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/scratch.hpp"
#include "features/item_encoder.hpp"
#include "karec/stages.hpp"
#include "stages/loaded_bundle.hpp"

namespace karec {

// Refuses k = 0, and scores or user vectors of wrong length or not finite.
Status check_request(const Request& request, const IndexView& view);

// Points into itself: neither copied nor moved.
struct RequestUser {
    std::optional<Query> vector;    // nullopt: no step searches
    EncodedUser encoded;            // empty: no step reads it
    ScratchVector<Tensor> tensors;  // `encoded`, by the encoder's outputs

    RequestUser() = default;
    RequestUser(const RequestUser&) = delete;
    RequestUser& operator=(const RequestUser&) = delete;

    // Encodes the user if a step or tower reads it. `has_search`: takes the vector of the request, or runs each tower
    // whose model version rows of `view` have.
    Status prepare(const Request& request, std::string_view scene, bool has_search, const LoadedBundle& bundle,
                   const IndexView& view);

  private:
    Status encode(const UserState& user, std::string_view scene, std::int64_t time_ms, const UserEncoder& encoder);
    Status run_towers(const LoadedBundle& bundle, const IndexView& view);
    std::span<const CodeTable> add_tables(const CrossWeights& weights, const LoadedBundle& bundle);

    ScratchVector<float> values_;
    ScratchVector<VersionQuery> queries_;
    ScratchVector<ScratchVector<CrossTable>> made_tables_;  // of each wide tower
    ScratchVector<ScratchVector<CodeTable>> tables_;        // those as arguments of a search
};

}  // namespace karec
