// The writes of ItemIndex: each is one transaction, which publishes the next generation whole or not at all.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/boundary.hpp"
#include "base/checks.hpp"
#include "index/generation_store.hpp"
#include "index/index_checks.hpp"
#include "karec/item_index.hpp"

namespace karec {
namespace {

using WriteTransaction = GenerationStore::WriteTransaction;

Status check_unique(std::span<const std::int64_t> ids) {
    std::vector<std::pair<std::int64_t, std::size_t>> sorted(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) sorted[i] = {ids[i], i};
    std::ranges::sort(sorted);
    const auto twice = std::ranges::adjacent_find(sorted, {}, [](const auto& entry) { return entry.first; });
    return twice == sorted.end() ? Status{} : stands_twice(twice->first, std::next(twice)->second);
}

// The given columns in the index's order, nullptr where one is not given.
Result<std::vector<const Column*>> in_order(const Generation& g, std::span<const Column> given, std::size_t n) {
    for (std::size_t c = 0; c < given.size(); ++c) {
        const std::string name(given[c].name);
        const PagedColumn* held = g.find_column(name);
        if (held == nullptr) return Status::invalid("the index has no column '" + name + "'");
        if (std::ranges::find(given.first(c), name, &Column::name) != given.first(c).end()) {
            return Status::invalid("column '" + name + "' appears twice");
        }
        if (given[c].dtype != held->dtype) {
            return Status::invalid("column '" + name + "' is given as " + name_of(given[c].dtype) +
                                   ", the index holds " + name_of(held->dtype));
        }
        if (Status status = check_column(given[c], n); !status.ok()) return status;
    }
    std::vector<const Column*> ordered;
    for (const PagedColumn& column : g.columns) {
        const auto found = std::ranges::find(given, column.name, &Column::name);
        ordered.push_back(found == given.end() ? nullptr : &*found);
    }
    return ordered;
}

// Refuses a new work where a column is not given: it has no value to keep.
Status check_new_works(const Generation& g, std::span<const std::int64_t> ids, std::span<const Column* const> ordered) {
    const auto missing = std::ranges::find(ordered, nullptr);
    if (missing == ordered.end()) return {};
    std::vector<std::int32_t> rows(ids.size());
    g.id_map.find(ids, rows.data());
    const auto fresh = std::ranges::find_if(rows, [](std::int32_t row) { return row < 0; });
    if (fresh == rows.end()) return {};
    const auto column = static_cast<std::size_t>(missing - ordered.begin());
    const auto at = static_cast<std::size_t>(fresh - rows.begin());
    return Status::invalid("column '" + g.columns[column].name + "' is missing, and id " + std::to_string(ids[at]) +
                           " (at " + std::to_string(at) + ") is new: a new work needs every column");
}

std::string hexadecimal(std::uint64_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    return text;
}

// Refuses vectors of another item tower than those that the index has of this model version.
Status check_space(const Generation& g, std::int64_t model_version, std::uint64_t space_id) {
    const auto used = g.used_versions();
    const auto version = std::ranges::find(used, model_version, &ModelVersion::number);
    if (version == used.end() || version->n_rows == 0) return {};
    if (space_id == 0 || version->space_id == 0 || space_id == version->space_id) return {};
    return Status::invalid("the index holds vectors of model version " + std::to_string(model_version) +
                           " in the space " + hexadecimal(version->space_id) + ", these are in " +
                           hexadecimal(space_id) + ": vectors of another item tower need another model version");
}

// Copies what belongs to the work (block, adjustment) from its old row, or resets it where there is none (from < 0).
void carry_over(Generation& g, std::int32_t from, std::size_t to) {
    const bool blocked = from >= 0 && g.blocked.has(static_cast<std::size_t>(from));
    g.blocked.put(to, blocked);
    g.closed.put(to, blocked);
    if (g.adjustments.empty()) return;
    const Adjustment own = from >= 0 ? *g.adjustments.at(static_cast<std::size_t>(from)) : kNoAdjustment;
    if (!has_same_bits(*g.adjustments.at(to), own)) g.adjust(to, own);
}

template <class Change>
Result<std::size_t> for_each_known(GenerationStore& store, std::span<const std::int64_t> ids, Change&& change) {
    // Copied, so that the id that is looked up is the id that is changed, whoever writes to the caller's array.
    const std::vector<std::int64_t> own(ids.begin(), ids.end());
    WriteTransaction transaction(store);
    std::vector<std::int32_t> rows(own.size());
    transaction->id_map.find(own, rows.data());
    std::size_t unknown = 0;
    for (std::size_t i = 0; i < own.size(); ++i) {
        const bool known = rows[i] >= 0 && static_cast<std::size_t>(rows[i]) < transaction->n_rows();
        if (known) change(transaction, i, own[i], static_cast<std::size_t>(rows[i]));
        unknown += !known;
    }
    if (unknown < own.size()) transaction.commit();
    return unknown;
}

Result<std::size_t> set_blocked(GenerationStore& store, std::span<const std::int64_t> ids, bool blocked) {
    return for_each_known(store, ids,
                          [blocked](WriteTransaction& transaction, std::size_t, std::int64_t, std::size_t row) {
                              transaction->blocked.put(row, blocked);
                              transaction->closed.put(row, blocked);
                          });
}

}  // namespace

Status ItemIndex::upsert(std::span<const std::int64_t> ids, MatrixView embeddings, std::span<const Column> columns,
                         std::int64_t model_version, std::uint64_t space_id) noexcept {
    return at_boundary([&]() -> Status {
        // Copied, so that the ids that are checked are the ids that are written, whoever writes to the caller's array.
        const std::vector<std::int64_t> own(ids.begin(), ids.end());
        if (embeddings.cols != dim()) {
            return Status::invalid("embeddings has " + std::to_string(embeddings.cols) + " dimensions, expected " +
                                   std::to_string(dim()));
        }
        if (Status status = check_shape(own, embeddings); !status.ok()) return status;
        if (Status status = check_unique(own); !status.ok()) return status;
        WriteTransaction transaction(*store_);
        if (Status status = check_map(*transaction); !status.ok()) return status;
        transaction->map_verified = true;
        auto ordered = in_order(*transaction, columns, own.size());
        if (!ordered.ok()) return ordered.status();
        if (Status status = check_new_works(*transaction, own, ordered.value()); !status.ok()) return status;
        if (Status status = check_space(*transaction, model_version, space_id); !status.ok()) return status;
        if (own.empty()) return {};
        if (transaction->n_rows() + own.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
            return Status::invalid("an index holds at most 2^31 − 1 rows");
        }
        const std::size_t code = transaction->code_for(model_version);
        if (code == kMaxVersions) {
            return Status::invalid("the index holds vectors of 256 model versions: refresh some of them first");
        }
        transaction->model_version = model_version;
        ModelVersion& version = transaction->versions[code];
        if (version.n_rows == 0) version.space_id = space_id;
        transaction->id_map.make_room(transaction->n_works + own.size());
        std::vector<std::int32_t> written(own.size());
        VectorInput vectors(embeddings, dtype());
        for (std::size_t i = 0; i < own.size(); ++i) {
            if (Status status = vectors.copy_row(i); !status.ok()) return status;
            const std::size_t row = transaction.new_row();
            written[i] = static_cast<std::int32_t>(row);
            const std::int32_t old = transaction->id_map.put(own[i], written[i]);
            transaction->write_row(row, own[i], vectors.row(), code, ordered.value(), i,
                                   static_cast<std::size_t>(std::max(old, 0)));
            carry_over(*transaction, old, row);
            ++version.n_rows;
            if (old < 0) {
                ++transaction->n_works;
            } else {
                --transaction->versions[transaction->code_of(static_cast<std::size_t>(old))].n_rows;
                transaction.retire(static_cast<std::size_t>(old));
            }
        }
        if (transaction->lists != nullptr) transaction->put_in_lists(written, model_version);
        transaction.commit();
        return {};
    });
}

Status ItemIndex::calibrate(std::int64_t model_version, float scale, float offset) noexcept {
    return at_boundary([&]() -> Status {
        if (!std::isfinite(scale) || !std::isfinite(offset) || !(scale > 0.0f)) {
            return Status::invalid("scale and offset of a model version must be finite, and scale above 0, got " +
                                   std::to_string(scale) + " and " + std::to_string(offset));
        }
        WriteTransaction transaction(*store_);
        const auto used = std::span(transaction->versions).first(transaction->n_codes);
        const auto version = std::ranges::find(used, model_version, &ModelVersion::number);
        if (version == used.end() || version->n_rows == 0) {
            return Status::invalid("the index has no vector of model version " + std::to_string(model_version));
        }
        version->scale = scale;
        version->offset = offset;
        transaction.commit();
        return {};
    });
}

Result<std::size_t> ItemIndex::remove(std::span<const std::int64_t> ids) noexcept {
    return at_boundary([&]() -> Result<std::size_t> {
        if (Status status = check_map(*pinned().generation_); !status.ok()) return status;
        return for_each_known(*store_, ids,
                              [](WriteTransaction& transaction, std::size_t, std::int64_t id, std::size_t row) {
                                  transaction->map_verified = true;
                                  if (transaction->id_map.take(id) < 0) return;  // given twice
                                  --transaction->versions[transaction->code_of(row)].n_rows;
                                  --transaction->n_works;
                                  transaction.retire(row);
                              });
    });
}

Result<std::size_t> ItemIndex::block(std::span<const std::int64_t> ids) noexcept {
    return at_boundary([&] { return set_blocked(*store_, ids, true); });
}

Result<std::size_t> ItemIndex::unblock(std::span<const std::int64_t> ids) noexcept {
    return at_boundary([&] { return set_blocked(*store_, ids, false); });
}

Result<std::size_t> ItemIndex::adjust(std::span<const std::int64_t> ids, std::span<const float> scales,
                                      std::span<const float> offsets) noexcept {
    return at_boundary([&]() -> Result<std::size_t> {
        // Copied, so that the values that are checked are the values that are stored.
        const std::vector<float> own_scales(scales.begin(), scales.end());
        const std::vector<float> own_offsets(offsets.begin(), offsets.end());
        const std::pair<const char*, const std::vector<float>&> halves[] = {{"scale", own_scales},
                                                                            {"offset", own_offsets}};
        for (const auto& [name, values] : halves) {
            if (values.empty()) continue;
            if (Status status = check_lengths(name, values.size(), "ids", ids.size()); !status.ok()) return status;
            if (Status status = check_finite(values, name); !status.ok()) return status;
        }
        return for_each_known(*store_, ids,
                              [&](WriteTransaction& transaction, std::size_t i, std::int64_t, std::size_t row) {
                                  if (transaction->adjustments.empty())
                                      transaction->adjustments.grow(transaction->n_rows());
                                  Adjustment adjustment = *transaction->adjustments.at(row);
                                  if (!own_scales.empty()) adjustment.scale = own_scales[i];
                                  if (!own_offsets.empty()) adjustment.offset = own_offsets[i];
                                  transaction->adjust(row, adjustment);
                              });
    });
}

}  // namespace karec
