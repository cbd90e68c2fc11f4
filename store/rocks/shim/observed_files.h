// A file system that asks Rust before every change of a file and tells it afterwards: for campaigns
// that fail the k-th operation or record what a power loss may undo. Compiled with the feature
// `testing` only.

#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "rocksdb/file_system.h"

extern "C" {
// One operation; mirrored by `RawOperation` in observer.rs.
struct readvault_operation {
  int32_t kind;
  const char* path;
  size_t path_length;
  const char* target;
  size_t target_length;
  uint64_t number;
  const uint8_t* data;
  size_t length;
};
// What Rust gives; mirrored by `RawObserver` in observer.rs. `begin` answers 0 or an errno, and how
// many bytes of a write that fails are written before. `context` outlives the Env; `release` ends it.
struct readvault_observer {
  const void* context;
  int32_t (*begin)(const void* context, const readvault_operation* operation, uint64_t* ticket,
                   size_t* taken);
  void (*end)(const void* context, const readvault_operation* operation, uint64_t ticket);
  void (*release)(const void* context);
};
}

namespace readvault {

using namespace ROCKSDB_NAMESPACE;

enum Kind : int32_t {
  kCreate = 1,
  kWrite = 2,
  kWriteAt = 3,
  kTruncate = 4,
  kSync = 5,
  kClose = 6,
  kRename = 7,
  kLink = 8,
  kRemove = 9,
  kMakeDirectory = 10,
  kSyncDirectory = 11,
};

class Watch final {
 public:
  explicit Watch(const readvault_observer& observer) : observer_(observer) {}
  ~Watch() { observer_.release(observer_.context); }

  // Asks, acts, tells. A write that fails may first write some of its bytes by `partly`.
  template <typename Act, typename Partly>
  IOStatus Around(const readvault_operation& operation, Act act, Partly partly) const {
    uint64_t ticket = 0;
    size_t taken = 0;
    int32_t number = observer_.begin(observer_.context, &operation, &ticket, &taken);
    if (number != 0) {
      if (taken > 0) {
        partly(taken).PermitUncheckedError();
      }
      return Failed(number);
    }
    IOStatus status = act();
    if (status.ok()) {
      observer_.end(observer_.context, &operation, ticket);
    }
    return status;
  }
  template <typename Act>
  IOStatus Around(const readvault_operation& operation, Act act) const {
    return Around(operation, act, [](size_t) { return IOStatus::OK(); });
  }

  static readvault_operation Named(Kind kind, const std::string& path) {
    return {kind, path.data(), path.size(), nullptr, 0, 0, nullptr, 0};
  }
  static readvault_operation Named(Kind kind, const std::string& path, const std::string& target) {
    return {kind, path.data(), path.size(), target.data(), target.size(), 0, nullptr, 0};
  }
  static readvault_operation Written(Kind kind, const std::string& path, uint64_t offset,
                                     const Slice& data) {
    auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
    return {kind, path.data(), path.size(), nullptr, 0, offset, bytes, data.size()};
  }

 private:
  // As RocksDB's own files say it.
  static IOStatus Failed(int32_t number) {
    const char* text = strerror(number);
    if (number == ENOSPC) {
      IOStatus status = IOStatus::NoSpace("injected", text);
      status.SetRetryable(true);
      return status;
    }
    return IOStatus::IOError("injected", text);
  }
  readvault_observer observer_;
};

class ObservedWritable final : public FSWritableFileOwnerWrapper {
 public:
  ObservedWritable(std::unique_ptr<FSWritableFile>&& file, std::string path,
                   std::shared_ptr<Watch> watch)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), watch_(std::move(watch)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    auto write = [&](size_t length) {
      return target()->Append(Slice(data.data(), length), options, debug);
    };
    return watch_->Around(Watch::Written(kWrite, path_, 0, data),
                          [&] { return write(data.size()); }, write);
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    auto write = [&](size_t length) {
      return target()->PositionedAppend(Slice(data.data(), length), offset, options, debug);
    };
    return watch_->Around(Watch::Written(kWriteAt, path_, offset, data),
                          [&] { return write(data.size()); }, write);
  }
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo&, IODebugContext* debug) override {
    return PositionedAppend(data, offset, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    readvault_operation operation = Watch::Named(kTruncate, path_);
    operation.number = size;
    return watch_->Around(operation, [&] { return target()->Truncate(size, options, debug); });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSync, path_),
                          [&] { return target()->Sync(options, debug); });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSync, path_),
                          [&] { return target()->Fsync(options, debug); });
  }
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = watch_->Around(Watch::Named(kClose, path_), [&] { return IOStatus::OK(); });
    IOStatus closed = target()->Close(options, debug);
    return status.ok() ? closed : status;
  }

 private:
  std::string path_;
  std::shared_ptr<Watch> watch_;
};

class ObservedRandomRW final : public FSRandomRWFileOwnerWrapper {
 public:
  ObservedRandomRW(std::unique_ptr<FSRandomRWFile>&& file, std::string path,
                   std::shared_ptr<Watch> watch)
      : FSRandomRWFileOwnerWrapper(std::move(file)), path_(std::move(path)), watch_(std::move(watch)) {}

  IOStatus Write(uint64_t offset, const Slice& data, const IOOptions& options,
                 IODebugContext* debug) override {
    auto write = [&](size_t length) {
      return FSRandomRWFileOwnerWrapper::Write(offset, Slice(data.data(), length), options, debug);
    };
    return watch_->Around(Watch::Written(kWriteAt, path_, offset, data),
                          [&] { return write(data.size()); }, write);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSync, path_), [&] {
      return FSRandomRWFileOwnerWrapper::Sync(options, debug);
    });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSync, path_), [&] {
      return FSRandomRWFileOwnerWrapper::Fsync(options, debug);
    });
  }

 private:
  std::string path_;
  std::shared_ptr<Watch> watch_;
};

class ObservedDirectory final : public FSDirectoryWrapper {
 public:
  ObservedDirectory(std::unique_ptr<FSDirectory>&& directory, std::string path,
                    std::shared_ptr<Watch> watch)
      : FSDirectoryWrapper(std::move(directory)), path_(std::move(path)), watch_(std::move(watch)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSyncDirectory, path_),
                          [&] { return FSDirectoryWrapper::Fsync(options, debug); });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const DirFsyncOptions& how) override {
    return watch_->Around(Watch::Named(kSyncDirectory, path_), [&] {
      return FSDirectoryWrapper::FsyncWithDirOptions(options, debug, how);
    });
  }

 private:
  std::string path_;
  std::shared_ptr<Watch> watch_;
};

class ObservedFiles final : public FileSystemWrapper {
 public:
  ObservedFiles(const std::shared_ptr<FileSystem>& under, const readvault_observer& observer)
      : FileSystemWrapper(under), watch_(std::make_shared<Watch>(observer)) {}
  const char* Name() const override { return "ReadVaultObservedFiles"; }

  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result,
                           IODebugContext* debug) override {
    IOStatus status = watch_->Around(Watch::Named(kCreate, name), [&] {
      return FileSystemWrapper::NewWritableFile(name, options, result, debug);
    });
    if (status.ok()) {
      *result = std::make_unique<ObservedWritable>(std::move(*result), name, watch_);
    }
    return status;
  }
  IOStatus NewRandomRWFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSRandomRWFile>* result,
                           IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewRandomRWFile(name, options, result, debug);
    if (status.ok()) {
      *result = std::make_unique<ObservedRandomRW>(std::move(*result), name, watch_);
    }
    return status;
  }
  IOStatus NewDirectory(const std::string& name, const IOOptions& options,
                        std::unique_ptr<FSDirectory>* result, IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewDirectory(name, options, result, debug);
    if (status.ok()) {
      *result = std::make_unique<ObservedDirectory>(std::move(*result), name, watch_);
    }
    return status;
  }
  IOStatus DeleteFile(const std::string& name, const IOOptions& options,
                      IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kRemove, name), [&] {
      return FileSystemWrapper::DeleteFile(name, options, debug);
    });
  }
  IOStatus Truncate(const std::string& name, size_t size, const IOOptions& options,
                    IODebugContext* debug) override {
    readvault_operation operation = Watch::Named(kTruncate, name);
    operation.number = size;
    return watch_->Around(operation, [&] {
      return FileSystemWrapper::Truncate(name, size, options, debug);
    });
  }
  IOStatus RenameFile(const std::string& from, const std::string& to, const IOOptions& options,
                      IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kRename, from, to), [&] {
      return FileSystemWrapper::RenameFile(from, to, options, debug);
    });
  }
  IOStatus LinkFile(const std::string& from, const std::string& to, const IOOptions& options,
                    IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kLink, from, to), [&] {
      return FileSystemWrapper::LinkFile(from, to, options, debug);
    });
  }
  IOStatus CreateDir(const std::string& name, const IOOptions& options,
                     IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kMakeDirectory, name), [&] {
      return FileSystemWrapper::CreateDir(name, options, debug);
    });
  }
  IOStatus SyncFile(const std::string& name, const FileOptions& files, const IOOptions& options,
                    bool use_fsync, IODebugContext* debug) override {
    return watch_->Around(Watch::Named(kSync, name), [&] {
      return FileSystemWrapper::SyncFile(name, files, options, use_fsync, debug);
    });
  }

 private:
  std::shared_ptr<Watch> watch_;
};

}  // namespace readvault
