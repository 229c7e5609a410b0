using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>Finds the records of a stream's receipts, which come by sequence as the records do.</summary>
internal sealed class ReceiptRules(ReceiptBook book, Verdict verdict, Guid stream, bool endIsCut)
{
    private int _next;

    /// <summary>A record in its place in the order.</summary>
    public void Take(in RecordPlace place, uint epoch, in TreeHash leaf)
    {
        var receipts = book.Of(stream);
        while (_next < receipts.Length && receipts[_next].Sequence < place.Sequence)
        {
            _next++;
        }

        for (; _next < receipts.Length && receipts[_next].Sequence == place.Sequence; _next++)
        {
            Compare(ref receipts[_next], place, epoch, leaf);
        }
    }

    /// <summary>A record that came after a later one.</summary>
    public void TakeLate(in RecordPlace place, uint epoch, in TreeHash leaf)
    {
        foreach (ref var receipt in book.Of(stream))
        {
            if (receipt.Sequence == place.Sequence && !receipt.IsSeen)
            {
                Compare(ref receipt, place, epoch, leaf);
            }
        }
    }

    public void Finish(StreamOrder order)
    {
        foreach (ref readonly var receipt in book.Of(stream))
        {
            if (receipt.IsSeen)
            {
                continue;
            }

            var sequence = receipt.Sequence;
            if (sequence < order.First || (sequence > order.Last && endIsCut) || order.WasSkipped(sequence))
            {
                continue;
            }

            if (order.Admitted.Exists(range => sequence >= range.First && sequence <= range.Last))
            {
                book.Lost++;
            }
            else
            {
                Fail(new RecordPlace("receipts", 0, stream, sequence), receipt, sequence > order.Last
                    ? $"has no record: the ledger ends at {order.Last}; its end was cut off, or is not here yet"
                    : "has no record");
            }
        }
    }

    /// <summary>Streams that receipts name and nobody has read.</summary>
    public static void FinishUnread(ReceiptBook book, Verdict verdict, Func<Guid, bool> isRead, bool othersExist)
    {
        foreach (var stream in book.Streams.Where(stream => !othersExist && !isRead(stream)))
        {
            var receipts = book.Of(stream);
            book.Failed += receipts.Length;
            verdict.Find(FindingKind.Receipt, new RecordPlace("receipts", 0, stream, receipts[0].Sequence),
                $"{receipts.Length} receipts are of stream {stream:N}, of which nothing is here");
        }
    }

    private void Compare(ref ReceiptBook.Receipt receipt, in RecordPlace place, uint epoch, in TreeHash leaf)
    {
        if (receipt.IsSeen)
        {
            return;
        }

        receipt.IsSeen = true;
        if (receipt.Epoch != epoch)
        {
            Fail(place, receipt, $"is of epoch {receipt.Epoch}; the record with its sequence is of epoch {epoch}");
        }
        else if (receipt.Leaf != leaf)
        {
            Fail(place, receipt, $"differs: its leaf is {receipt.Leaf}, the record's is {leaf}");
        }
        else
        {
            book.Matched++;
        }
    }

    private void Fail(in RecordPlace place, in ReceiptBook.Receipt receipt, string how)
    {
        book.Failed++;
        verdict.Find(FindingKind.Receipt, place, $"the receipt {stream:N}/{receipt.Epoch}/{receipt.Sequence} {how}");
    }
}
