#include "base/at_fork.hpp"

#include <pthread.h>

#include <mutex>
#include <new>
#include <vector>

namespace karec {

struct AtForkList {
    std::mutex mutex;
    std::vector<AtForkEntry*> entries;

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
        mutex.lock();
        for (const AtForkEntry* entry : entries) entry->lock_(entry->object_);
    }
    void unlock(bool in_child) {
        for (const AtForkEntry* entry : entries) entry->unlock_(entry->object_, in_child);
        mutex.unlock();
    }
};

AtForkEntry::AtForkEntry(void* object, Lock lock, Unlock unlock) : object_(object), lock_(lock), unlock_(unlock) {
    AtForkList& list = AtForkList::get();
    const std::scoped_lock lock_list(list.mutex);
    list.entries.push_back(this);
}

AtForkEntry::~AtForkEntry() {
    AtForkList& list = AtForkList::get();
    const std::scoped_lock lock_list(list.mutex);
    std::erase(list.entries, this);
}

}  // namespace karec
