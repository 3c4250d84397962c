#include "index/generation_store.hpp"

#include <algorithm>
#include <new>
#include <thread>

namespace karec {

Living::Living(std::unique_ptr<Generation> first) : newest_(first.get()) {
    first->publish();
    kept_.push_back(std::move(first));
}

Living::~Living() {
    for (Slot* slot = slots_.load(); slot != nullptr;) delete std::exchange(slot, slot->next);
}

Living::Slot* Living::take_slot() const noexcept {
    Slot* slot = nullptr;
    while (slot == nullptr) {
        for (Slot* used = slots_.load(std::memory_order_acquire); used != nullptr; used = used->next) {
            bool taken = used->taken.load(std::memory_order_relaxed);
            if (!taken && used->taken.compare_exchange_strong(taken, true, std::memory_order_acquire)) return used;
        }
        // More readers than ever before. Where not even a slot can be had, another reader's will soon be free.
        slot = new (std::nothrow) Slot;
        if (slot == nullptr) std::this_thread::yield();
    }
    slot->taken.store(true, std::memory_order_relaxed);
    slot->next = slots_.load(std::memory_order_relaxed);
    while (!slots_.compare_exchange_weak(slot->next, slot, std::memory_order_seq_cst, std::memory_order_relaxed)) {
    }
    return slot;
}

Living::Pin::Pin(const Living& living) noexcept : slot_(living.take_slot()), generation_(living.newest_.load()) {
    // Sequentially consistent, like the push of a new slot, the writer's store of `newest_` and its look at the slots
    // and what they hold: one of the two sees the other.
    for (;;) {
        slot_->held.store(generation_);
        const Generation* newest = living.newest_.load();
        if (newest == generation_) return;
        generation_ = newest;
    }
}

Living::Pin::~Pin() {
    slot_->held.store(nullptr, std::memory_order_release);
    slot_->taken.store(false, std::memory_order_release);
}

Living::Draft::Draft(Living& living)
    : living_(living), lock_(living.writing_), next_(std::make_unique<Generation>(*living.kept_.back())) {
    living.reclaim();
    ++next_->number;
}

std::size_t Living::Draft::new_row() {
    const auto& free = living_.free_;
    if (n_reused_ < free.size() && free[n_reused_].since <= living_.kept_.front()->number) {
        const std::size_t row = free[n_reused_++].row;
        next_->removed.put(row, false);
        next_->closed.put(row, false);
        return row;
    }
    next_->grow(next_->n_rows() + 1);
    return next_->n_rows() - 1;
}

void Living::Draft::retire(std::size_t row) {
    retired_.push_back(row);
    next_->removed.put(row, true);
    next_->closed.put(row, true);
    next_->blocked.put(row, false);
}

void Living::Draft::publish() {
    // All that may fail for want of memory comes before the first change.
    living_.free_.reserve(living_.free_.size() + retired_.size());
    living_.kept_.reserve(living_.kept_.size() + 1);
    next_->publish();
    const Generation* next = next_.get();
    for (const std::size_t row : retired_) living_.free_.push_back({next->number, row});
    living_.kept_.push_back(std::move(next_));
    living_.free_.erase(living_.free_.begin(), living_.free_.begin() + static_cast<std::ptrdiff_t>(n_reused_));
    living_.newest_.store(next);
    living_.reclaim();
}

void Living::reclaim() noexcept {
    const auto held = [&](const Generation* generation) {
        for (const Slot* slot = slots_.load(); slot != nullptr; slot = slot->next) {
            if (slot->held.load() == generation) return true;
        }
        return false;
    };
    // Oldest first, so that the first one kept says which rows can still be seen; those between may go as well.
    const Generation* newest = kept_.back().get();
    std::erase_if(kept_, [&](const auto& generation) { return generation.get() != newest && !held(generation.get()); });
}

}  // namespace karec
