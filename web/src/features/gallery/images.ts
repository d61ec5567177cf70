import { useInfiniteQuery } from "@tanstack/react-query";
import { gallery } from "@/api/clients";

const PAGE = 100;
/** Addresses of pictures are good for minutes; a list is fetched anew before they end. */
const FRESH_MS = 120_000;

/** All pictures, newest first, a page at a time. */
export function useImages() {
  return useInfiniteQuery({
    queryKey: ["images"],
    queryFn: ({ pageParam }) => gallery.listImages({ pageSize: PAGE, pageToken: pageParam }),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: FRESH_MS,
    select: ({ pages }) => pages.flatMap((page) => page.images),
  });
}
