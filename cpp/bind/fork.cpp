// fork() in a program with threads: the child has the caller's thread alone. What another thread holds at that moment
// stays held in the child for ever, so the caller takes the locks of all models before, and gives them back after.
#include <pthread.h>

#include <mutex>
#include <set>

#include "bind/bind.h"

namespace flyball::bind {
namespace {

struct Loaded {
  std::mutex lock;
  std::set<const ModelOwner*> owners;
  std::set<journal::Journal*> journals;  // theirs, during a fork: models may share one
};

Loaded& loaded() {
  static Loaded& all = *new Loaded;  // never destroyed: threads may outlive main()
  return all;
}

void before() {
  Loaded& all = loaded();
  all.lock.lock();
  for (const ModelOwner* owner : all.owners) {
    owner->model->before_fork();
    if (owner->journal) all.journals.insert(owner->journal.get());
  }
  for (journal::Journal* journal : all.journals) journal->before_fork();
}

void after(bool in_child) {
  Loaded& all = loaded();
  for (journal::Journal* journal : all.journals) journal->after_fork();
  all.journals.clear();
  for (const ModelOwner* owner : all.owners) owner->model->after_fork(in_child);
  all.lock.unlock();
}

}  // namespace

void ModelOwner::survive_forks() const {
  static const int registered = pthread_atfork(before, [] { after(false); }, [] { after(true); });
  (void)registered;
  const std::scoped_lock locked(loaded().lock);
  loaded().owners.insert(this);
}

ModelOwner::~ModelOwner() {
  {
    const std::scoped_lock locked(loaded().lock);
    loaded().owners.erase(this);
  }
  if (model) engine::Model::release(model);
}

}  // namespace flyball::bind
