// What build and upsert, or several searches, refuse in the same words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "generation.hpp"
#include "karec/item_index.hpp"

namespace karec {

Status check_lengths(const char* first, std::size_t n_first, const char* second, std::size_t n_second);
Status check_vectors(std::span<const std::int64_t> ids, const MatrixView& embeddings, DType stored);
Status check_column(const Column& column, std::size_t n);
Status stands_twice(std::int64_t id, std::size_t again);

// The id map of a file that was taken on trust, before anything relies on it but reads: O(N), once.
Status check_map(const Generation& g);

Status check_candidates(const Candidates& candidates, const Generation& g);
Status check_ranked(const Ranked& out);

// `out` as n lists of one length: that it is, one of them, and the end of one that found less.
Status check_lists(const Ranked& out, std::size_t n);
Ranked list_of(const Ranked& out, std::size_t list, std::size_t length);
void pad_list(const Ranked& list, std::size_t found);

// Finite queries of D values, one for each model version that they name; one query where there is one version.
Status check_query(const Query& query, const Generation& g, const std::string& name);

}  // namespace karec
