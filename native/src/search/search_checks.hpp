// The checks of searches, and the list of one query in the output of several.
#pragma once

#include <cstddef>
#include <string>

#include "index/generation_store.hpp"
#include "karec/index_view.hpp"

namespace karec {

// Refuses rows that were found in another generation than g.
Status check_generation(const Rows& rows, const Generation& g);

// Refuses ids and rows together, rows of another generation or outside [−1, n_rows), and more than 2^32 − 1 candidates.
Status check_candidates(const Candidates& candidates, const Generation& g);

// Refuses output arrays of different lengths.
Status check_ranked(const Ranked& out);

// Refuses output that is not n lists of one length.
Status check_lists(const Ranked& out, std::size_t n);

// List number `list` of lists of `length` entries.
Ranked slice_list(const Ranked& out, std::size_t list, std::size_t length);

// Fills the entries of a list after the first n with score −inf, id −1, row −1, position −1.
void pad_list(const Ranked& list, std::size_t n);

// Refuses a mask that is longer than the rows of g, or shorter than those of the first generation with the row numbers
// of g.
Status check_mask(std::size_t length, const Generation& g);

// Refuses queries that are not D finite values each, tables that are not one for each code column with ascending codes
// and finite values, and a single query if the index has rows of several model
// versions. `name` is the query in the message.
Status check_query(const Query& query, const Generation& g, const std::string& name);

}  // namespace karec
