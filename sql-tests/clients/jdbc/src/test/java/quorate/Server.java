package quorate;

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/** Starts one server for all tests, from the binary that QUORATE_BINARY names, and stops it after them. */
final class Server implements BeforeAllCallback {
    private static Running running;

    /** The address at which the server speaks Flight SQL. */
    static String flight() {
        return running.flight;
    }

    /** The address at which the server speaks HTTP. */
    static String http() {
        return running.http;
    }

    @Override
    public void beforeAll(ExtensionContext context) {
        // JUnit closes what lies in the root's store once every test is over.
        running = context.getRoot()
                .getStore(ExtensionContext.Namespace.GLOBAL)
                .getOrComputeIfAbsent(Running.class, key -> Running.start(), Running.class);
    }

    private record Running(Process process, Path directory, String flight, String http) implements AutoCloseable {
        static Running start() {
            String binary = System.getenv("QUORATE_BINARY");
            if (binary == null) {
                throw new IllegalStateException("QUORATE_BINARY must name the server's binary");
            }
            try {
                Path directory = Files.createTempDirectory("quorate-jdbc-");
                Process process = new ProcessBuilder(binary, "serve", "--data-dir", directory.toString(),
                                "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
                        .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                        .redirectError(directory.resolve("stderr.txt").toFile())
                        .start();
                // A fork that is ended from outside leaves no server behind.
                Runtime.getRuntime().addShutdownHook(new Thread(process::destroy));
                return waitUntilReady(process, directory);
            } catch (IOException | InterruptedException error) {
                throw new IllegalStateException("the server cannot be started", error);
            }
        }

        private static Running waitUntilReady(Process process, Path directory)
                throws IOException, InterruptedException {
            Path addresses = directory.resolve("addresses.json");
            long deadline = System.nanoTime() + Duration.ofMinutes(1).toNanos();
            while (System.nanoTime() < deadline) {
                if (!process.isAlive()) {
                    String log = Files.readString(directory.resolve("stderr.txt"));
                    throw new IllegalStateException("the server ended while it was starting:\n" + log);
                }
                if (Files.exists(addresses)) {
                    String json = Files.readString(addresses);
                    // Not written to its end yet if it has no closing brace.
                    if (json.contains("}") && isReady(member(json, "http"))) {
                        return new Running(process, directory, member(json, "flight"), member(json, "http"));
                    }
                }
                Thread.sleep(10);
            }
            process.destroy();
            throw new IllegalStateException("the server is not ready after a minute");
        }

        private static boolean isReady(String http) throws InterruptedException {
            HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + http + "/ready")).build();
            try {
                return HttpClient.newHttpClient().send(request, BodyHandlers.discarding()).statusCode() < 300;
            } catch (IOException notYet) {
                return false;
            }
        }

        private static String member(String json, String name) {
            var matcher = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]+)\"").matcher(json);
            if (!matcher.find()) {
                throw new IllegalStateException("no " + name + " in " + json);
            }
            return matcher.group(1);
        }

        @Override
        public void close() throws IOException, InterruptedException {
            process.destroy();
            if (!process.waitFor(30, TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new IllegalStateException("the server does not stop");
            }
            if (process.exitValue() != 0) {
                String log = Files.readString(directory.resolve("stderr.txt"));
                throw new IllegalStateException("the server stopped with status " + process.exitValue() + ":\n" + log);
            }
            try (var files = Files.walk(directory)) {
                for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                    Files.delete(file);
                }
            }
        }
    }
}
