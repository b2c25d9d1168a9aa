import java.io.FileInputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** Loads an archive as the model server does: reads it as a stream, hashes it with SHA-1, extracts it. */
public final class Load {
    public static void main(String[] args) throws Exception {
        Path folder = Paths.get(args[1]);
        MessageDigest sha1 = MessageDigest.getInstance("SHA1");
        try (InputStream file = new FileInputStream(args[0]);
                DigestInputStream hashed = new DigestInputStream(file, sha1);
                ZipInputStream zip = new ZipInputStream(hashed)) {
            byte[] buffer = new byte[4096]; // the size in commons-io, with which the server copies
            for (ZipEntry entry; (entry = zip.getNextEntry()) != null; ) {
                if (entry.isDirectory()) {
                    continue;
                }
                Path path = folder.resolve(entry.getName());
                Files.createDirectories(path.getParent());
                try (OutputStream out = Files.newOutputStream(path)) {
                    for (int n; (n = zip.read(buffer)) > 0; ) {
                        out.write(buffer, 0, n);
                    }
                }
            }
        }
    }
}
