#include "features/crosses.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/fixed_math.hpp"
#include "base/scratch.hpp"
#include "features/code_map.hpp"
#include "features/numbers.hpp"
#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr double kAffinityShows = 20.0;  // impressions with the mean rate by which affinities are smoothed

// The number of slots with a code, and the first such slot.
struct SlotCount {
    std::int32_t count = 0;
    std::int32_t first = 0;
};

// Counts column `column` of a list of `n` slots with `width` columns.
void count_codes(const std::int64_t* codes, std::size_t n, std::size_t width, std::size_t column,
                 CodeMap<SlotCount>& to) {
    to.reset(n);
    for (std::size_t h = 0; h < n; ++h) {
        const std::int64_t code = codes[h * width + column];
        if (code == 0) continue;
        SlotCount& slots = to.add(code);
        if (slots.count == 0) slots.first = static_cast<std::int32_t>(h);
        ++slots.count;
    }
}

// The count of one code, by a scan of the list.
SlotCount count_code(const std::int64_t* codes, std::size_t n, std::size_t width, std::size_t column,
                     std::int64_t code) noexcept {
    SlotCount slots;
    for (std::size_t h = n; h-- > 0;) {
        if (codes[h * width + column] != code) continue;
        ++slots.count;
        slots.first = static_cast<std::int32_t>(h);
    }
    return slots;
}

// A user's vectors, packed in blocks of kBlockItems: those of the history, their mean, and the mean of the skipped
// items; and the ALS vector.
class UserVectors {
  public:
    explicit UserVectors(const CrossInputs& in)
        : in_(in),
          rows_(in.vectors.size() / in.dim),
          width_((in.dim + 15) / 16 * 16),
          sum_(in.dim),
          query_(width_, 0.0f),
          als_(in.als) {}

    Status fill(std::span<const std::int64_t> history, std::span<const std::int64_t> skipped) {
        blocks_.clear();
        als_.clear();
        n_ = 0;
        Status status = add_list(history, true);
        n_history_ = n_;
        if (status.ok()) {
            add_mean();
            status = add_list(skipped, false);
        }
        add_mean();
        dots_.resize(blocks_.size() / width_);
        return status.ok() && in_.als.dim > 0 ? als_.solve() : status;
    }

    // Writes the columns of an item: three, and the ALS score if there are factors.
    Status write(std::int64_t row, float* out) {
        if (row < 0 || static_cast<std::size_t>(row) >= rows_) return refused(row);
        std::fill_n(out, kCowatchCrosses + (in_.als.dim > 0 ? 1 : 0), 0.0f);
        if (row == 0 || dots_.empty()) return {};
        std::copy_n(vector(row), in_.dim, query_.data());
        for (std::size_t at = 0; at < dots_.size(); at += kBlockItems) {
            kernels().dot_packed(blocks_.data() + at * width_, width_, query_.data(), dots_.data() + at);
        }
        if (n_history_ > 0) out[0] = largest({dots_.data(), n_history_});
        out[1] = dots_[n_history_];
        out[2] = dots_[n_history_ + 1];
        if (in_.als.dim > 0) out[3] = als_.score(row);
        return {};
    }

  private:
    // NaN if a value is NaN.
    static float largest(std::span<const float> values) noexcept {
        float found = values.front();
        for (const float value : values) found = value > found || std::isnan(value) ? value : found;
        return found;
    }
    static Status refused(std::int64_t row) {
        return Status::invalid("a row of the co-watch vectors is " + std::to_string(row));
    }
    const float* vector(std::int64_t row) const noexcept {
        return in_.vectors.data() + static_cast<std::size_t>(row) * in_.dim;
    }

    void add(const auto* values) {
        if (n_ % kBlockItems == 0) blocks_.resize(blocks_.size() + kBlockItems * width_, 0.0f);
        float* to = blocks_.data() + n_ / kBlockItems * kBlockItems * width_ + n_ % kBlockItems;
        for (std::size_t d = 0; d < in_.dim; ++d) to[d * kBlockItems] = static_cast<float>(values[d]);
        ++n_;
    }

    // Sums the vectors of a list, and packs them if `has_items`.
    Status add_list(std::span<const std::int64_t> list, bool has_items) {
        std::ranges::fill(sum_, 0.0);
        n_summed_ = 0;
        for (const std::int64_t& element : list) {
            const std::int64_t row = element;  // read once: checked, then used
            if (row < 0 || static_cast<std::size_t>(row) >= rows_) return refused(row);
            if (row == 0) continue;
            const float* from = vector(row);
            for (std::size_t d = 0; d < in_.dim; ++d) sum_[d] += static_cast<double>(from[d]);
            ++n_summed_;
            if (!has_items) continue;
            add(from);
            if (in_.als.dim > 0) als_.add(row);
        }
        return {};
    }

    void add_mean() {
        const double n = static_cast<double>(std::max<std::size_t>(n_summed_, 1));
        for (double& value : sum_) value /= n;
        add(sum_.data());
    }

    const CrossInputs& in_;
    std::size_t rows_;
    std::size_t width_;
    std::size_t n_ = 0;
    std::size_t n_history_ = 0;
    std::size_t n_summed_ = 0;
    ScratchVector<double> sum_;
    ScratchVector<float> query_;
    ScratchVector<float> blocks_;
    ScratchVector<float> dots_;
    AlsUser als_;
};

// The list of user u.
std::span<const std::int64_t> select_user(std::span<const std::int64_t> all, std::size_t n_users,
                                          std::size_t u) noexcept {
    const std::size_t length = all.size() / n_users;
    return all.subspan(u * length, length);
}

// The lists of one user that affinities read.
class UserAffinities {
  public:
    // Of one value: the number of enjoyed items, and the sum of the rates of enjoyed and skipped items.
    struct Sums {
        double n_enjoyed = 0.0;
        double rates = 0.0;
    };

    explicit UserAffinities(const CrossInputs& in) : in_(in), width_(in.n_categories) {}

    void select(std::size_t user) {
        history_ = select_user(in_.affinities.history, in_.n_users, user);
        skipped_ = select_user(in_.affinities.skipped, in_.n_users, user);
        rates_.assign((history_.size() + skipped_.size()) / width_, 0.0);
        Sums all;
        for_each_slot(0, [&](std::size_t slot, std::int64_t code, bool is_enjoyed) {
            rates_[slot] = in_.affinities.rates.empty() ? 0.0 : select_value(in_.affinities.rates, code);
            add(slot, is_enjoyed, all);
        });
        n_enjoyed_ = all.n_enjoyed;
        scale_ = all.rates > 0.0 ? all.n_enjoyed / all.rates : 0.0;
    }

    std::size_t n_slots() const noexcept { return rates_.size(); }

    // Calls function(slot, code, is_enjoyed) with the codes other than 0 of a category.
    template <class Function>
    void for_each_slot(std::size_t category, const Function& function) const {
        const std::size_t n_history = history_.size() / width_;
        for (std::size_t slot = 0; slot < rates_.size(); ++slot) {
            const bool is_enjoyed = slot < n_history;
            const std::size_t row = is_enjoyed ? slot : slot - n_history;
            const std::int64_t code = (is_enjoyed ? history_ : skipped_)[row * width_ + category];
            if (code != 0) function(slot, code, is_enjoyed);
        }
    }

    void add(std::size_t slot, bool is_enjoyed, Sums& to) const noexcept {
        if (is_enjoyed) to.n_enjoyed += 1.0;
        to.rates += rates_[slot];
    }

    // The sums of one code of a category, by a scan of the lists.
    Sums sum_code(std::size_t category, std::int64_t wanted) const {
        Sums sums;
        for_each_slot(category, [&](std::size_t slot, std::int64_t code, bool is_enjoyed) {
            if (code == wanted) add(slot, is_enjoyed, sums);
        });
        return sums;
    }

    float compute(std::size_t category, std::int64_t code, const Sums& sums) const noexcept {
        if (in_.affinities.shares.empty()) {
            const double prior = kAffinityShows * in_.affinities.rates[0];
            return static_cast<float>(fixed_log((sums.n_enjoyed + prior) / (sums.rates * scale_ + prior)));
        }
        const double n_relative = sums.n_enjoyed / select_value(in_.affinities.shares[category], code);
        return static_cast<float>(fixed_log((n_relative + kAffinityShows) / (n_enjoyed_ + kAffinityShows)));
    }

  private:
    // By code, [0] for a code without a value of its own.
    static double select_value(std::span<const double> values, std::int64_t code) noexcept {
        const auto at = static_cast<std::uint64_t>(code);
        return values[at < values.size() ? at : 0];
    }

    const CrossInputs& in_;
    std::size_t width_;
    std::span<const std::int64_t> history_;
    std::span<const std::int64_t> skipped_;
    ScratchVector<double> rates_;  // by slot
    double n_enjoyed_ = 0.0;
    double scale_ = 0.0;  // makes the sum of all rates equal to n_enjoyed_
};

class CrossWriter {
  public:
    CrossWriter(const CrossInputs& in, std::span<float> out)
        : in_(in),
          out_(out),
          n_history_(in.history.size() / in.n_users / in.n_categories),
          n_skipped_(in.skipped.size() / in.n_users / in.n_categories),
          logs_(std::max(n_history_, n_skipped_) + 1) {
        for (std::size_t n = 0; n < logs_.size(); ++n) {
            logs_[n] = static_cast<float>(fixed_log1p(static_cast<double>(n)));
        }
    }

    void write_matches() {
        const std::size_t width = in_.n_categories;
        CodeMap<SlotCount> history;
        CodeMap<SlotCount> skipped;
        for (std::size_t i = 0; i < width; ++i) {
            if (in_.n_users == 1) {
                count_codes(in_.history.data(), n_history_, width, i, history);
                count_codes(in_.skipped.data(), n_skipped_, width, i, skipped);
            }
            for (std::size_t n = 0; n < in_.n_items; ++n) {
                const std::int64_t code = in_.items[n * width + i];
                float* to = out_.data() + n * in_.width() + i;
                if (code == 0) {
                    for (std::size_t plane = 0; plane < kMatches; ++plane) to[plane * width] = 0.0f;
                } else if (in_.n_users == 1) {
                    write_match(history.find(code).value, skipped.find(code).value, to);
                } else {
                    write_match(count_code(select_user(in_.history, in_.n_users, n).data(), n_history_, width, i, code),
                                count_code(select_user(in_.skipped, in_.n_users, n).data(), n_skipped_, width, i, code),
                                to);
                }
            }
        }
    }

    void write_edges() {
        std::size_t column = kMatches * in_.n_categories;
        for (const auto& edges : {in_.follows, in_.friends}) {
            CodeMap<SlotCount> counts;
            if (in_.n_users == 1) count_codes(edges.data(), edges.size(), 1, 0, counts);
            for (std::size_t n = 0; n < in_.n_items; ++n) {
                const std::int64_t code = in_.items[n * in_.n_categories + in_.creator];
                bool found = false;
                if (code > 0 && in_.n_users == 1) {
                    found = counts.find(code).code != 0;
                } else if (code > 0) {
                    const auto list = select_user(edges, in_.n_users, n);
                    found = std::ranges::find(list, code) != list.end();
                }
                out_[n * in_.width() + column] = found ? 1.0f : 0.0f;
            }
            ++column;
        }
    }

    void write_alike() {
        const std::size_t first = kMatches * in_.n_categories + (in_.has_creators ? 2 : 0);
        for (std::size_t n = 0; n < in_.n_items; ++n) {
            const auto user = select_user(in_.alike, in_.n_users, in_.n_users == 1 ? 0 : n);
            for (std::size_t p = 0; p < in_.shared.size(); ++p) {
                const std::int64_t code = in_.items[n * in_.n_categories + in_.shared[p]];
                out_[n * in_.width() + first + p] = code > 0 && user[p] == code ? 1.0f : 0.0f;
            }
        }
    }

    Status write_cowatch() {
        UserVectors user(in_);
        const std::size_t column = in_.first_cowatch();
        Status status;
        for (std::size_t n = 0; n < in_.n_items && status.ok(); ++n) {
            if (n < in_.n_users) {
                status = user.fill(select_user(in_.history_cowatch, in_.n_users, n),
                                   select_user(in_.skipped_cowatch, in_.n_users, n));
            }
            if (status.ok()) status = user.write(in_.cowatch[n], out_.data() + n * in_.width() + column);
        }
        return status;
    }

    void write_affinities() {
        UserAffinities user(in_);
        if (in_.n_users == 1) {
            user.select(0);
            for (std::size_t i = 0; i < in_.n_categories; ++i) write_affinities_of(user, i);
            return;
        }
        for (std::size_t n = 0; n < in_.n_items; ++n) {
            user.select(n);
            for (std::size_t i = 0; i < in_.n_categories; ++i) {
                const std::int64_t code = in_.items[n * in_.n_categories + i];
                out_[n * in_.width() + in_.first_affinity() + i] =
                    code == 0 ? 0.0f : user.compute(i, code, user.sum_code(i, code));
            }
        }
    }

    void write_positions() {
        for (std::size_t n = 0; n < in_.n_items; ++n) {
            const std::int64_t position = in_.positions.empty() ? 0 : in_.positions[n];
            out_[n * in_.width() + in_.position()] =
                position > 1 ? static_cast<float>(fixed_log(static_cast<double>(position))) : 0.0f;
        }
    }

  private:
    // Writes the affinities of one user for category i. Each value of the lists is computed once.
    void write_affinities_of(const UserAffinities& user, std::size_t i) {
        struct Value {
            UserAffinities::Sums sums;
            float affinity = 0.0f;
        };
        CodeMap<Value> values;
        values.reset(user.n_slots());
        user.for_each_slot(i, [&](std::size_t slot, std::int64_t code, bool is_enjoyed) {
            user.add(slot, is_enjoyed, values.add(code).sums);
        });
        for (auto& [code, value] : values.slots()) {
            if (code != 0) value.affinity = user.compute(i, code, value.sums);
        }
        const float other = user.compute(i, 0, {});
        for (std::size_t n = 0; n < in_.n_items; ++n) {
            const std::int64_t code = in_.items[n * in_.n_categories + i];
            float affinity = 0.0f;
            if (code != 0) {
                const auto& entry = values.find(code);
                affinity = entry.code == 0 ? other : entry.value.affinity;
            }
            out_[n * in_.width() + in_.first_affinity() + i] = affinity;
        }
    }

    void write_match(const SlotCount& history, const SlotCount& skipped, float* to) const noexcept {
        const std::size_t width = in_.n_categories;
        to[0] = logs_[static_cast<std::size_t>(history.count)];
        to[width] = logs_[static_cast<std::size_t>(skipped.count)];
        to[2 * width] = history.count > 0 ? 1.0f / static_cast<float>(1 + history.first) : 0.0f;
        to[3 * width] = skipped.count > 0 ? 1.0f / static_cast<float>(1 + skipped.first) : 0.0f;
    }

    const CrossInputs& in_;
    std::span<float> out_;
    std::size_t n_history_;
    std::size_t n_skipped_;
    ScratchVector<float> logs_;  // logs_[n] = ln(1 + n)
};

}  // namespace

std::size_t CrossInputs::category_of(std::size_t column) const noexcept {
    const std::size_t first_edge = kMatches * n_categories;
    const std::size_t first_alike = first_edge + (has_creators ? 2 : 0);
    if (column < first_edge) return column % n_categories;
    if (column < first_alike) return creator;
    if (column < first_cowatch()) return shared[column - first_alike];
    return column >= first_affinity() && column < position() ? column - first_affinity() : n_categories;
}

Status compute_crosses(const CrossInputs& inputs, std::span<float> out) {
    if (inputs.n_categories == 0) return Status::invalid("items have no categories");
    if (inputs.n_items == 0) return {};
    CrossWriter writer(inputs, out);
    writer.write_matches();
    if (inputs.has_creators) writer.write_edges();
    writer.write_alike();
    if (!inputs.affinities.empty()) writer.write_affinities();
    if (inputs.has_positions) writer.write_positions();
    return inputs.dim > 0 && !inputs.cowatch.empty() ? writer.write_cowatch() : Status();
}

}  // namespace karec
