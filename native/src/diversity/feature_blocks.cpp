#include "diversity/feature_blocks.hpp"

#include <utility>

#include "kernels/kernels.hpp"

namespace karec {
namespace {

constexpr std::size_t kMaxSpareValues = std::size_t{8} << 20;  // 32 MiB a thread
struct Spare {
    AlignedFloats values;
    std::size_t size = 0;
};
thread_local Spare spare;

}  // namespace

FeatureBlocks::FeatureBlocks(const FeatureRows& rows, std::vector<std::uint32_t> order)
    : rows_(rows),
      order_(std::move(order)),
      is_packed_((order_.size() + kBlockItems - 1) / kBlockItems, false),
      n_values_(is_packed_.size() * kBlockItems * rows.dim()),
      decoded_(rows.items.dtype == DType::int8 ? kBlockItems * rows.dim() : 0) {
    if (spare.size >= n_values_) {
        values_ = std::move(spare.values);
        n_values_ = std::exchange(spare.size, 0);
    } else {
        values_.reset(static_cast<float*>(::operator new[](n_values_ * sizeof(float), std::align_val_t{64})));
    }
}

FeatureBlocks::~FeatureBlocks() {
    if (n_values_ > spare.size && n_values_ <= kMaxSpareValues) spare = {std::move(values_), n_values_};
}

void FeatureBlocks::pack(std::size_t b) {
    const VectorRows& items = rows_.items;
    const std::size_t dim = items.cols;
    const void* addresses[kBlockItems];
    double norms[kBlockItems];
    for (std::size_t i = 0; i < kBlockItems; ++i) {
        const std::size_t place = b * kBlockItems + i;
        const std::size_t item = order_[place < order_.size() ? place : b * kBlockItems];
        norms[i] = place < order_.size() ? rows_.squared_norms[item] : 0.0;
        addresses[i] = items.dtype == DType::int8 ? items.floats(item, &decoded_[i * dim])
                                                  : static_cast<const void*>(items.at(item));
    }
    const Kernels& loops = kernels();
    const auto pack_rows = items.dtype == DType::float16 ? loops.pack_float16 : loops.pack_float32;
    pack_rows(addresses, norms, rows_.vector_length, dim, values_.get() + b * kBlockItems * dim);
    is_packed_[b] = true;
}

}  // namespace karec
