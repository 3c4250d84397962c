#include "base/at_fork.hpp"

#include <pthread.h>

#include <mutex>
#include <new>

namespace karec {

struct AtForkList {
    std::mutex changing;
    AtForkEntry* first = nullptr;

    // Never destroyed: objects may outlive the statics of this library.
    static AtForkList& get() {
        static auto* const list = new AtForkList;
        return *list;
    }

    AtForkList() {
        if (::pthread_atfork([] { get().lock(); }, [] { get().unlock(false); }, [] { get().unlock(true); }) != 0) {
            throw std::bad_alloc();
        }
    }

    void lock() {
        changing.lock();
        for (AtForkEntry* entry = first; entry != nullptr; entry = entry->next_) entry->lock_(entry->object_);
    }
    void unlock(bool in_child) {
        for (AtForkEntry* entry = first; entry != nullptr; entry = entry->next_) {
            entry->unlock_(entry->object_, in_child);
        }
        changing.unlock();
    }
};

AtForkEntry::AtForkEntry(void* object, Lock lock, Unlock unlock) : object_(object), lock_(lock), unlock_(unlock) {
    AtForkList& list = AtForkList::get();
    const std::scoped_lock changing(list.changing);
    next_ = list.first;
    if (next_ != nullptr) next_->previous_ = this;
    list.first = this;
}

AtForkEntry::~AtForkEntry() {
    AtForkList& list = AtForkList::get();
    const std::scoped_lock changing(list.changing);
    (previous_ == nullptr ? list.first : previous_->next_) = next_;
    if (next_ != nullptr) next_->previous_ = previous_;
}

}  // namespace karec
