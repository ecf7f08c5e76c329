/** Tries until it holds, or fails as it last failed. */
export async function eventually(holds: () => void | Promise<void>, ms = 60_000): Promise<void> {
  for (const deadline = performance.now() + ms; ; ) {
    try {
      await holds();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
