// Reads encoder.npz of a bundle: vocabularies, scales and prior rates that karec/features/encoder.py fitted.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "features/als.hpp"
#include "features/numbers.hpp"
#include "features/vocabulary.hpp"
#include "karec/status.hpp"

namespace karec {

inline constexpr std::size_t kAffinityLength = 100;  // newest items of a list that affinities read

// How the columns of a table become inputs.
struct TableCoder {
    std::vector<std::string> categories;   // columns, without the row's own id
    std::vector<Vocabulary> vocabularies;  // one for each category; that of the own id is first, if it is encoded
    std::vector<std::pair<std::string, NumberScale>> numbers;
    std::vector<std::pair<std::string, NumberScale>> moments;
    std::vector<std::string> counters;  // columns: impressions, then positives by label; none without labels
    std::vector<double> priors;         // rates of the labels

    // The vocabulary of a category; nullptr if the table does not have it.
    const Vocabulary* find_vocabulary(std::string_view category) const noexcept;
    std::size_t n_numbers() const noexcept { return numbers.size() + moments.size() + counters.size(); }
};

struct EncoderFile {
    std::size_t history_length = 0;
    TableCoder users;
    TableCoder works;                         // with their own ids
    std::vector<std::string> scene_counters;  // columns: impressions, then positives by task; none without scenes
    std::vector<double> scene_priors;         // (scenes + 1, tasks): rates by scene code
    Vocabulary scenes;
    Vocabulary people;
    Vocabulary cowatch;                  // works with a co-watch vector
    std::vector<float> cowatch_vectors;  // (cowatch + 1, cowatch_dim), the first row is 0; empty if no work has one
    std::size_t cowatch_dim = 0;
    std::vector<float> als_vectors;  // (cowatch + 1, als_dim) and (als_dim, als_dim), see AlsFactors; or empty
    std::vector<double> als_gram;
    std::size_t als_dim = 0;
    // As in AffinityInputs; all empty if the encoder has no affinities.
    std::vector<double> rates;
    std::vector<std::vector<double>> shares;
    bool has_positions = false;

    // Slots of the lists that affinities read.
    std::size_t affinity_length() const noexcept { return rates.empty() && shares.empty() ? 0 : kAffinityLength; }

    AlsFactors als() const noexcept { return {als_vectors, als_gram, als_dim}; }

    // bad_format: not an encoder, a damaged one, or one of another format.
    static Result<EncoderFile> read(std::span<const std::byte> npz);
};

}  // namespace karec
