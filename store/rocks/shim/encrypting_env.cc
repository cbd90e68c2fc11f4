// An Env through which every file of the catalog passes encrypted.
//
// RocksDB's own EncryptedFileSystem does the work; here stands only what it leaves open (where
// keys come
// from, which cipher) and what it must not do for a stream cipher: write a file's bytes twice
// under one
// keystream. The cipher is Rust's, called through the table that the constructor receives.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/env.h"
#include "rocksdb/env_encryption.h"
#include "rocksdb/file_system.h"
#include "rocksdb/version.h"

#ifdef READVAULT_TESTING
#include "observed_files.h"
#endif

using namespace ROCKSDB_NAMESPACE;

extern "C" {
struct readvault_observer;
// What Rust gives; mirrored by `Callbacks` in env.rs. `keys` outlives the Env; `release` ends it.
struct readvault_callbacks {
  const void* keys;
  int32_t (*new_prefix)(const void* keys, uint8_t* prefix, size_t length);
  void* (*open_cipher)(const void* keys, const uint8_t* prefix, size_t length);
  int32_t (*apply)(const void* cipher, uint64_t offset, uint8_t* data, size_t length);
  void (*close_cipher)(void* cipher);
  void (*release)(const void* keys);
};
}

namespace {

constexpr size_t kPrefixBytes = 4096;
constexpr size_t kBlockBytes = 16;
// Where the prefix of a manifest says how much of it is durable: a sector that is written as a whole.
constexpr size_t kDurableAt = 512;
constexpr size_t kDurableBytes = 24;
constexpr uint64_t kDurableMagic = 0x0a01'5259'5344'5652;  // "RVDSYR", 1, line feed

class Stream final : public BlockAccessCipherStream {
 public:
  Stream(const readvault_callbacks& calls, void* cipher) : calls_(calls), cipher_(cipher) {}
  ~Stream() override { calls_.close_cipher(cipher_); }
  size_t BlockSize() override { return kBlockBytes; }

  Status Encrypt(uint64_t offset, char* data, size_t length) override {
    auto* bytes = reinterpret_cast<uint8_t*>(data);
    bool applied = calls_.apply(cipher_, offset, bytes, length) == 0;
    return applied ? Status::OK() : Status::IOError("catalog file cipher");
  }
  Status Decrypt(uint64_t offset, char* data, size_t length) override {
    return Encrypt(offset, data, length);  // counter mode
  }

 protected:
  // Whole ranges are handed over above, so nothing is asked for block by block.
  void AllocateScratch(std::string&) override {}
  Status EncryptBlock(uint64_t, char*, char*) override { return Status::NotSupported(); }
  Status DecryptBlock(uint64_t, char*, char*) override { return Status::NotSupported(); }

 private:
  readvault_callbacks calls_;
  void* cipher_;
};

bool IsManifest(const std::string& path) {
  size_t slash = path.rfind('/');
  size_t name = slash == std::string::npos ? 0 : slash + 1;
  return path.compare(name, 9, "MANIFEST-") == 0;
}

// The durable length of a manifest, as its prefix holds it: magic, length, length inverted.
void PutDurable(char* bytes, uint64_t length) {
  uint64_t words[] = {kDurableMagic, length, ~length};
  for (size_t at = 0; at < kDurableBytes; ++at) {
    bytes[at] = static_cast<char>(words[at / 8] >> (8 * (at % 8)));
  }
}

// The durable length that a manifest's prefix holds; false when it holds none. One of before such lengths were
// kept has zeros there. A write of the length that failed half-way leaves anything; the bytes of the file
// were synced before it, and nothing is written behind them once it has failed.
bool GetDurable(const Slice& bytes, uint64_t* length) {
  uint64_t words[] = {0, 0, 0};
  for (size_t at = 0; at < kDurableBytes; ++at) {
    words[at / 8] |= uint64_t{static_cast<uint8_t>(bytes[at])} << (8 * (at % 8));
  }
  *length = words[1];
  return words[0] == kDurableMagic && words[1] == ~words[2];
}

class Provider final : public EncryptionProvider {
 public:
  explicit Provider(const readvault_callbacks& calls) : calls_(calls) {}
  ~Provider() override { calls_.release(calls_.keys); }
  const char* Name() const override { return "ReadVaultCatalog"; }
  size_t GetPrefixLength() const override { return kPrefixBytes; }

  Status CreateNewPrefix(const std::string& name, char* prefix, size_t length) const override {
    auto* bytes = reinterpret_cast<uint8_t*>(prefix);
    if (calls_.new_prefix(calls_.keys, bytes, length) != 0) {
      return Status::IOError("catalog file prefix");
    }
    if (IsManifest(name)) {
      PutDurable(prefix + kDurableAt, 0);
    }
    return Status::OK();
  }
  Status AddCipher(const std::string&, const char*, size_t, bool) override {
    return Status::NotSupported();
  }
  Status CreateCipherStream(const std::string&, const EnvOptions&, Slice& prefix,
                            std::unique_ptr<BlockAccessCipherStream>* result) override {
    auto* bytes = reinterpret_cast<const uint8_t*>(prefix.data());
    void* cipher = calls_.open_cipher(calls_.keys, bytes, prefix.size());
    if (cipher == nullptr) {
      return Status::Corruption("catalog file prefix does not open");
    }
    result->reset(new Stream(calls_, cipher));
    return Status::OK();
  }

 private:
  readvault_callbacks calls_;
};

// RocksDB's diagnostics name files and may quote keys; they are not written.
class Silence final : public Logger {
 public:
  using Logger::Logv;
  void Logv(const char*, va_list) override {}
};

// What a crash left of a file before its prefix was whole: it holds nothing.
class Nothing final : public FSSequentialFile {
 public:
  IOStatus Read(size_t, const IOOptions&, Slice* result, char*, IODebugContext*) override {
    *result = Slice();
    return IOStatus::OK();
  }
  IOStatus Skip(uint64_t) override { return IOStatus::OK(); }
};

// A manifest as it is read: as far as it was durable. What a power loss left of a record behind that was
// never acknowledged to RocksDB, which can't tell a torn record from damage, or loops over its noise.
class DurableManifest final : public FSSequentialFileOwnerWrapper {
 public:
  DurableManifest(std::unique_ptr<FSSequentialFile>&& file, uint64_t length)
      : FSSequentialFileOwnerWrapper(std::move(file)), left_(length) {}

  IOStatus Read(size_t wanted, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) override {
    size_t allowed = static_cast<size_t>(std::min<uint64_t>(wanted, left_));
    IOStatus status = target()->Read(allowed, options, result, scratch, debug);
    left_ -= std::min<uint64_t>(left_, result->size());
    return status;
  }
  IOStatus Skip(uint64_t count) override {
    uint64_t allowed = std::min(count, left_);
    left_ -= allowed;
    return target()->Skip(allowed);
  }
  IOStatus PositionedRead(uint64_t, size_t, const IOOptions&, Slice*, char*,
                          IODebugContext*) override {
    return IOStatus::NotSupported("manifests are read in order");
  }

 private:
  uint64_t left_;
};

// A manifest as it is written: notes in its prefix how much of it is durable, and makes its name durable
// before anything can name it.
class NotedManifest final : public FSWritableFileOwnerWrapper {
 public:
  NotedManifest(std::unique_ptr<FSWritableFile>&& file, std::string path,
                std::shared_ptr<FileSystem> plain)
      : FSWritableFileOwnerWrapper(std::move(file)), path_(std::move(path)), plain_(std::move(plain)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = failed_ ? Failed() : target()->Append(data, options, debug);
    length_ += status.ok() ? data.size() : 0;
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo&,
                  IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, IODebugContext*) override {
    return IOStatus::NotSupported("manifests are written in order");
  }
  IOStatus PositionedAppend(const Slice&, uint64_t, const IOOptions&, const DataVerificationInfo&,
                            IODebugContext*) override {
    return IOStatus::NotSupported("manifests are written in order");
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = failed_ ? Failed() : target()->Sync(options, debug);
    return status.ok() ? Note(options, debug) : status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = failed_ ? Failed() : target()->Fsync(options, debug);
    return status.ok() ? Note(options, debug) : status;
  }

 private:
  static IOStatus Failed() { return IOStatus::IOError("the manifest's length could not be kept"); }
  IOStatus Note(const IOOptions& options, IODebugContext* debug) {
    if (prefix_ == nullptr) {
      std::unique_ptr<FSRandomRWFile> prefix;
      IOStatus status = plain_->NewRandomRWFile(path_, FileOptions(), &prefix, debug);
      if (status.ok()) {
        status = SyncName(options, debug);
      }
      if (!status.ok()) {
        return status;
      }
      prefix_ = std::move(prefix);
    }
    char bytes[kDurableBytes];
    PutDurable(bytes, length_);
    IOStatus status = prefix_->Write(kDurableAt, Slice(bytes, kDurableBytes), options, debug);
    if (status.ok()) {
      status = prefix_->Sync(options, debug);
    }
    failed_ = !status.ok();
    return status;
  }
  IOStatus SyncName(const IOOptions& options, IODebugContext* debug) {
    std::unique_ptr<FSDirectory> directory;
    std::string parent = path_.substr(0, path_.rfind('/'));
    IOStatus status = plain_->NewDirectory(parent, options, &directory, debug);
    return status.ok() ? directory->Fsync(options, debug) : status;
  }

  std::string path_;
  std::shared_ptr<FileSystem> plain_;
  std::unique_ptr<FSRandomRWFile> prefix_;
  uint64_t length_ = 0;
  // Once a length could not be kept nothing is written behind it.
  bool failed_ = false;
};

class CatalogFileSystem final : public FileSystemWrapper {
 public:
  CatalogFileSystem(const std::shared_ptr<FileSystem>& plain,
                    const std::shared_ptr<FileSystem>& encrypted)
      : FileSystemWrapper(encrypted), plain_(plain) {}
  const char* Name() const override { return "ReadVaultCatalogFileSystem"; }

  IOStatus NewSequentialFile(const std::string& name, const FileOptions& options,
                             std::unique_ptr<FSSequentialFile>* result,
                             IODebugContext* debug) override {
    uint64_t size = 0;
    IOStatus status = plain_->GetFileSize(name, options.io_options, &size, debug);
    if (status.ok() && size < kPrefixBytes) {
      result->reset(new Nothing());
      return status;
    }
    status = FileSystemWrapper::NewSequentialFile(name, options, result, debug);
    if (status.ok() && IsManifest(name)) {
      status = AsFarAsDurable(name, options, result, debug);
    }
    return status;
  }
  IOStatus NewWritableFile(const std::string& name, const FileOptions& options,
                           std::unique_ptr<FSWritableFile>* result,
                           IODebugContext* debug) override {
    IOStatus status = FileSystemWrapper::NewWritableFile(name, options, result, debug);
    if (status.ok() && IsManifest(name)) {
      *result = std::make_unique<NotedManifest>(std::move(*result), name, plain_);
    }
    return status;
  }

  // Each of these would write over or behind bytes under the same keystream, or past the cipher.
  IOStatus ReopenWritableFile(const std::string&, const FileOptions&,
                              std::unique_ptr<FSWritableFile>*, IODebugContext*) override {
    return Refused();
  }
  IOStatus ReuseWritableFile(const std::string&, const std::string&, const FileOptions&,
                             std::unique_ptr<FSWritableFile>*, IODebugContext*) override {
    return Refused();
  }
  IOStatus NewRandomRWFile(const std::string&, const FileOptions&,
                           std::unique_ptr<FSRandomRWFile>*, IODebugContext*) override {
    return Refused();
  }
  IOStatus NewMemoryMappedFileBuffer(const std::string&,
                                     std::unique_ptr<MemoryMappedFileBuffer>*) override {
    return Refused();
  }
  IOStatus Truncate(const std::string&, size_t, const IOOptions&, IODebugContext*) override {
    return Refused();
  }

  IOStatus NewLogger(const std::string&, const IOOptions&, std::shared_ptr<Logger>* result,
                     IODebugContext*) override {
    *result = std::make_shared<Silence>();
    return IOStatus::OK();
  }

  // A file without a whole prefix would seem to be of nearly 2^64 bytes.
  IOStatus GetFileSize(const std::string& name, const IOOptions& options, uint64_t* size,
                       IODebugContext* debug) override {
    IOStatus status = plain_->GetFileSize(name, options, size, debug);
    if (status.ok()) {
      *size -= std::min<uint64_t>(*size, kPrefixBytes);
    }
    return status;
  }
  IOStatus GetChildrenFileAttributes(const std::string& directory, const IOOptions& options,
                                     std::vector<FileAttributes>* result,
                                     IODebugContext* debug) override {
    IOStatus status = plain_->GetChildrenFileAttributes(directory, options, result, debug);
    for (auto& file : *result) {
      file.size_bytes -= std::min<uint64_t>(file.size_bytes, kPrefixBytes);
    }
    return status;
  }

 private:
  IOStatus AsFarAsDurable(const std::string& name, const FileOptions& options,
                          std::unique_ptr<FSSequentialFile>* result, IODebugContext* debug) {
    std::unique_ptr<FSRandomAccessFile> file;
    IOStatus status = plain_->NewRandomAccessFile(name, options, &file, debug);
    char scratch[kDurableBytes];
    Slice bytes;
    if (status.ok()) {
      status = file->Read(kDurableAt, kDurableBytes, options.io_options, &bytes, scratch, debug);
    }
    if (!status.ok()) {
      return status;
    }
    uint64_t length = 0;
    if (bytes.size() == kDurableBytes && GetDurable(bytes, &length)) {
      *result = std::make_unique<DurableManifest>(std::move(*result), length);
    }
    return status;
  }
  static IOStatus Refused() { return IOStatus::NotSupported("would reuse a keystream"); }
  std::shared_ptr<FileSystem> plain_;
};

// How db/c.cc lays out its handle of an Env; the header does not say.
struct EnvHandle {
  Env* env;
  bool is_default;
};
static_assert(ROCKSDB_MAJOR == 11 && ROCKSDB_MINOR == 8,
              "compare EnvHandle with rocksdb_env_t and Refused() with FileSystem, then raise this");

}  // namespace

// `observer` is null but in campaigns; it is told of every change of a file.
extern "C" void* readvault_encrypting_env(const readvault_callbacks* calls,
                                          [[maybe_unused]] const readvault_observer* observer) {
  auto plain = FileSystem::Default();
#ifdef READVAULT_TESTING
  if (observer != nullptr) {
    plain = std::make_shared<readvault::ObservedFiles>(plain, *observer);
  }
#endif
  auto encrypted = NewEncryptedFS(plain, std::make_shared<Provider>(*calls));
  if (encrypted == nullptr) {
    return nullptr;
  }
  auto env = NewCompositeEnv(std::make_shared<CatalogFileSystem>(plain, encrypted));
  return new EnvHandle{env.release(), false};
}

// For the tests of what is refused: 0 when all of it is.
extern "C" int32_t readvault_env_refuses_reuse(void* handle, const char* name) {
  auto files = static_cast<EnvHandle*>(handle)->env->GetFileSystem();
  std::unique_ptr<FSWritableFile> writable;
  std::unique_ptr<FSRandomRWFile> random;
  bool refused = files->ReopenWritableFile(name, FileOptions(), &writable, nullptr).IsNotSupported() &&
                 files->ReuseWritableFile(name, name, FileOptions(), &writable, nullptr)
                     .IsNotSupported() &&
                 files->NewRandomRWFile(name, FileOptions(), &random, nullptr).IsNotSupported() &&
                 files->Truncate(name, 0, IOOptions(), nullptr).IsNotSupported();
  return refused ? 0 : 1;
}
