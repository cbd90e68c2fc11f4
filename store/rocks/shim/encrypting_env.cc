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

class Provider final : public EncryptionProvider {
 public:
  explicit Provider(const readvault_callbacks& calls) : calls_(calls) {}
  ~Provider() override { calls_.release(calls_.keys); }
  const char* Name() const override { return "ReadVaultCatalog"; }
  size_t GetPrefixLength() const override { return kPrefixBytes; }

  Status CreateNewPrefix(const std::string&, char* prefix, size_t length) const override {
    auto* bytes = reinterpret_cast<uint8_t*>(prefix);
    bool made = calls_.new_prefix(calls_.keys, bytes, length) == 0;
    return made ? Status::OK() : Status::IOError("catalog file prefix");
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
    return FileSystemWrapper::NewSequentialFile(name, options, result, debug);
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
