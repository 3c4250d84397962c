// The C++ library karec: every public header. Start here.
//
//   const auto index = karec::ItemIndex::open("items.karec");
//   if (!index.ok()) return fail(index.status());
//   const karec::IndexView view = index->pinned();  // one generation for the whole request
//
//   std::vector<float> scores(100);
//   std::vector<std::int64_t> ids(100), positions(100);
//   std::vector<std::int32_t> rows(100);
//   const auto found = view.search(user_vector, karec::Candidates::of_ids(candidates), {scores, ids, rows, positions});
//   if (!found.ok()) return fail(found.status());
//
//   karec::DppOptions options;
//   options.alpha = karec::dpp_alpha(0.5);  // diversity 0.5
//   std::vector<std::int64_t> page(10);     // positions in `ids`
//   std::vector<double> gains(10);
//   const auto selected = view.dpp_select({std::span(rows).first(found->found), view.generation()},
//                                         std::span(scores).first(found->found), options, page, gains);
//   if (!selected.ok()) return fail(selected.status());
//
// No function throws, prints or ends the process: a Status or Result has the error. A header states its rules for
// threads, memory and fork().
#pragma once

#include "karec/array.hpp"
#include "karec/status.hpp"

// The item index and one generation of it: searches, reads, selections. Ids that are strings; arms of experiments.
#include "karec/assignment.hpp"
#include "karec/filter.hpp"
#include "karec/index_view.hpp"
#include "karec/item_index.hpp"
#include "karec/string_ids.hpp"

// Functions of arrays: diverse selections, and rules for the order of a list.
#include "karec/arrange.hpp"
#include "karec/dpp.hpp"
#include "karec/freshness.hpp"
#include "karec/mmr_ssd.hpp"

// A published bundle, the user's features, and the stages of a request: candidates to page.
#include "karec/bundle.hpp"
#include "karec/stages.hpp"
#include "karec/user_encoder.hpp"
