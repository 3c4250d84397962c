// A bundle's encoder.npz, as far as the user's side of a request needs it: vocabularies, scales and prior rates, as
// karec/features/encoder.py (Python) fitted and saved them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "features/numbers.hpp"
#include "features/stored_head.hpp"
#include "features/vocabulary.hpp"
#include "karec/status.hpp"

namespace karec {

// How a table's columns become inputs, each kind in order of its fields.
struct TableCoder {
    std::vector<std::string> categories;   // columns; without the row's own id
    std::vector<Vocabulary> vocabularies;  // one for each, the own id's first where the table codes it
    std::vector<std::pair<std::string, NumberScale>> numbers;
    std::vector<std::pair<std::string, NumberScale>> moments;
    std::vector<std::string> counters;  // columns: exposures, then positives by label; none without labels
    std::vector<double> priors;         // of the labels

    // The vocabulary of a category; nullptr where the table has none of that name.
    const Vocabulary* of(std::string_view category) const noexcept;
    std::size_t n_numbers() const noexcept { return numbers.size() + moments.size() + counters.size(); }
};

struct StoredEncoder {
    std::size_t history_length = 0;
    TableCoder users;
    TableCoder works;                         // with their own ids
    std::vector<std::string> scene_counters;  // columns: exposures, then positives by task; none without scenes
    std::vector<double> scene_priors;         // (scenes + 1, tasks): their rates by scene code
    std::optional<Vocabulary> scenes;
    std::optional<Vocabulary> people;
    std::optional<Vocabulary> cowatch;  // works that have a vector of who watched them; nullopt: none has

    // bad_format: not an encoder, a damaged one, or one of another format.
    static Result<StoredEncoder> read(std::span<const std::byte> npz);
};

}  // namespace karec
