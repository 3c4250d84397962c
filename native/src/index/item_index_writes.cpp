// The writes of ItemIndex. Each is one transaction, which publishes the next generation completely or not at all.
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
    const auto repeated = std::ranges::adjacent_find(sorted, {}, [](const auto& entry) { return entry.first; });
    return repeated == sorted.end() ? Status{} : repeated_id(repeated->first, std::next(repeated)->second);
}

// The columns in the order of the index, nullptr for one that is missing.
Result<std::vector<const Column*>> order_columns(const Generation& g, std::span<const Column> given, std::size_t n) {
    for (std::size_t c = 0; c < given.size(); ++c) {
        const std::string name(given[c].name);
        const PagedColumn* column = g.find_column(name);
        if (column == nullptr) return missing_column(name);
        if (std::ranges::find(given.first(c), name, &Column::name) != given.first(c).end()) {
            return Status::invalid("column '" + name + "' appears twice");
        }
        if (given[c].dtype != column->dtype) {
            return Status::invalid("column '" + name + "' has dtype " + name_of(given[c].dtype) + ", expected " +
                                   name_of(column->dtype));
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

// The code columns in the order of the index.
Result<std::vector<const Column*>> order_code_columns(const Generation& g, std::span<const Column> given,
                                                      std::size_t n) {
    if (Status status = check_code_columns(given, n); !status.ok()) return status;
    for (std::size_t c = 0; c < given.size(); ++c) {
        const std::string name(given[c].name);
        if (std::ranges::find(g.code_columns, name) == g.code_columns.end()) {
            return Status::invalid("the index has no code column '" + name + "'");
        }
        if (std::ranges::find(given.first(c), name, &Column::name) != given.first(c).end()) {
            return Status::invalid("code column '" + name + "' appears twice");
        }
    }
    std::vector<const Column*> ordered;
    for (const std::string& name : g.code_columns) {
        const auto found = std::ranges::find(given, name, &Column::name);
        if (found == given.end()) {
            return Status::invalid("code column '" + name + "' is missing: items need every code column of the index");
        }
        ordered.push_back(&*found);
    }
    return ordered;
}

// Rejects new items if a column is missing: they have no value of it.
Status check_new_items(const Generation& g, std::span<const std::int64_t> ids, std::span<const Column* const> ordered) {
    const auto missing = std::ranges::find(ordered, nullptr);
    if (missing == ordered.end()) return {};
    std::vector<std::int32_t> rows(ids.size());
    g.id_map.find(ids, rows.data());
    const auto new_row = std::ranges::find_if(rows, [](std::int32_t row) { return row < 0; });
    if (new_row == rows.end()) return {};
    const auto column = static_cast<std::size_t>(missing - ordered.begin());
    const auto position = static_cast<std::size_t>(new_row - rows.begin());
    return Status::invalid("column '" + g.columns[column].name + "' is missing, and id " +
                           std::to_string(ids[position]) + " (position " + std::to_string(position) +
                           ") is new: a new item needs every column");
}

std::string to_hex(std::uint64_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    return text;
}

// Rejects vectors of another item tower than those of this model version in the index.
Status check_space(const Generation& g, std::int64_t model_version, std::uint64_t space_id) {
    const auto used = g.used_versions();
    const auto version = std::ranges::find(used, model_version, &ModelVersion::number);
    if (version == used.end() || version->n_rows == 0) return {};
    if (space_id == 0 || version->space_id == 0 || space_id == version->space_id) return {};
    return Status::invalid("the index has vectors of model version " + std::to_string(model_version) +
                           " in the space " + to_hex(version->space_id) + ", these are in " + to_hex(space_id) +
                           ": vectors of another item tower need another model version");
}

// Copies block and adjustment of an item from its old row; resets them for a new item (from < 0).
void copy_item_state(Generation& g, std::int32_t from, std::size_t to) {
    const bool blocked = from >= 0 && g.blocked.has(static_cast<std::size_t>(from));
    g.blocked.put(to, blocked);
    g.closed.put(to, blocked);
    if (g.adjustments.empty()) return;
    const Adjustment own = from >= 0 ? *g.adjustments.at(static_cast<std::size_t>(from)) : kNoAdjustment;
    if (!has_same_bits(*g.adjustments.at(to), own)) g.adjust(to, own);
}

// Calls change(transaction, position, id, row) for the ids that are in the index; returns the number of others.
template <class Change>
Result<std::size_t> change_known(GenerationStore& store, std::span<const std::int64_t> ids, Change&& change) {
    const std::vector<std::int64_t> own(ids.begin(), ids.end());  // another thread may write to `ids`
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
    return change_known(store, ids,
                        [blocked](WriteTransaction& transaction, std::size_t, std::int64_t, std::size_t row) {
                            transaction->blocked.put(row, blocked);
                            transaction->closed.put(row, blocked);
                            transaction->mark_changed(row);
                        });
}

// Rejects values that are not finite or not as many as ids. No values are valid.
Status check_adjustments(const char* name, std::span<const float> values, std::size_t n_ids) {
    if (values.empty()) return {};
    if (Status status = check_lengths(name, values.size(), "ids", n_ids); !status.ok()) return status;
    return check_finite(values, name);
}

}  // namespace

Status ItemIndex::upsert(std::span<const std::int64_t> ids, MatrixView embeddings, std::span<const Column> columns,
                         std::int64_t model_version, std::uint64_t space_id,
                         std::span<const Column> code_columns) noexcept {
    return at_boundary([&]() -> Status {
        const std::vector<std::int64_t> own(ids.begin(), ids.end());  // another thread may write to `ids`
        const RowFormat format = pinned().generation_->format;
        if (embeddings.cols != format.dim) {
            return Status::invalid("embeddings has " + std::to_string(embeddings.cols) + " dimensions, expected " +
                                   std::to_string(format.dim));
        }
        if (Status status = check_shape(own, embeddings); !status.ok()) return status;
        if (Status status = check_unique(own); !status.ok()) return status;
        WriteTransaction transaction(*store_);
        if (Status status = check_map(*transaction); !status.ok()) return status;
        transaction->is_map_verified = true;
        auto ordered = order_columns(*transaction, columns, own.size());
        if (!ordered.ok()) return ordered.status();
        const auto codes = order_code_columns(*transaction, code_columns, own.size());
        if (!codes.ok()) return codes.status();
        if (Status status = check_new_items(*transaction, own, ordered.value()); !status.ok()) return status;
        if (Status status = check_space(*transaction, model_version, space_id); !status.ok()) return status;
        if (own.empty()) return {};
        if (transaction->n_rows() + own.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
            return Status::invalid("an index has at most 2^31 − 1 rows");
        }
        const std::size_t code = transaction->assign_code(model_version);
        if (code == kMaxVersions) {
            return Status::invalid("the index has vectors of 256 model versions: refresh some of them first");
        }
        transaction->model_version = model_version;
        ModelVersion& version = transaction->versions[code];
        if (version.n_rows == 0) version.space_id = space_id;
        transaction->id_map.reserve(transaction->n_items + own.size());
        std::vector<std::int32_t> written(own.size());
        VectorInput vectors(embeddings, format.dtype);
        for (std::size_t i = 0; i < own.size(); ++i) {
            if (Status status = vectors.copy_row(i); !status.ok()) return status;
            const std::size_t row = transaction.new_row();
            written[i] = static_cast<std::int32_t>(row);
            const std::int32_t old = transaction->id_map.put(own[i], written[i]);
            transaction->write_row(row, own[i], vectors.row(), code, ordered.value(), i,
                                   static_cast<std::size_t>(std::max(old, 0)));
            transaction->write_codes(row, codes.value(), i);
            copy_item_state(*transaction, old, row);
            ++version.n_rows;
            if (old < 0) {
                ++transaction->n_items;
            } else {
                --transaction->versions[transaction->code_of(static_cast<std::size_t>(old))].n_rows;
                transaction.retire(static_cast<std::size_t>(old));
            }
        }
        if (transaction->lists != nullptr) transaction->assign_lists(written, model_version);
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
        return change_known(*store_, ids,
                            [](WriteTransaction& transaction, std::size_t, std::int64_t id, std::size_t row) {
                                transaction->is_map_verified = true;
                                if (transaction->id_map.take(id) < 0) return;  // a repeated id
                                --transaction->versions[transaction->code_of(row)].n_rows;
                                --transaction->n_items;
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
        // Copies: another thread may write to the caller's arrays.
        const std::vector<float> own_scales(scales.begin(), scales.end());
        const std::vector<float> own_offsets(offsets.begin(), offsets.end());
        if (Status status = check_adjustments("scale", own_scales, ids.size()); !status.ok()) return status;
        if (Status status = check_adjustments("offset", own_offsets, ids.size()); !status.ok()) return status;
        return change_known(*store_, ids,
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
