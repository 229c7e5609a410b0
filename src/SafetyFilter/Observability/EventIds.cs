namespace SafetyFilter.Observability;

/// <summary>Stable ids of log events: people alert on them, so a number is never used for something else.</summary>
internal static class EventIds
{
    // Serving: 1000
    public const int Serving = 1000;
    public const int LoadFailed = 1001;
    public const int Draining = 1002;
    public const int LedgerClosed = 1003;
    public const int BundleLoaded = 1004;
    public const int LedgerNotDurable = 1005;

    // Requests: 1100
    public const int BundleThrew = 1100;
    public const int LedgerRefused = 1101;
    public const int RequestFailed = 1102;
    public const int LedgerServedLost = 1103;
    public const int LedgerNotWithdrawn = 1104;

    // Breakers: 1200
    public const int BreakerOpened = 1200;
    public const int BreakerHalfOpened = 1201;
    public const int BreakerClosed = 1202;
    public const int ChaosEnabled = 1203;
    public const int BreakerNotRecorded = 1204;
    public const int BreakerIsolated = 1205;

    // Reload: 1300
    public const int ReloadAccepted = 1300;
    public const int ReloadRefused = 1301;
    public const int ReloadPending = 1302;
    public const int ReloadEffect = 1303;
    public const int ReloadNotRecorded = 1304;
    public const int ReloadFailed = 1305;

    // Admission: 1400
    public const int AdmissionOverloaded = 1400;
    public const int AdmissionNotRecorded = 1401;

    // Operations: 1500
    public const int OperationsDenied = 1500;
    public const int OperationsTokensUnreadable = 1501;
    public const int OperationsNotRecorded = 1502;

    // Ledger: 4000
    public const int LedgerRecovered = 4000;
    public const int LedgerDamageFound = 4001;
    public const int LedgerSyncFailed = 4002;
    public const int LedgerRewritten = 4003;
    public const int LedgerNoSpare = 4004;
    public const int LedgerCannotPopulate = 4005;
    public const int LedgerSpaceLow = 4006;
    public const int LedgerSpaceBack = 4007;

    // Publisher: 4010
    public const int PublisherNewProducer = 4010;
    public const int PublisherProducerFailed = 4011;
    public const int PublisherCursorFailed = 4012;
    public const int PublisherLibrdkafka = 4013;
    public const int PublisherTroubled = 4014;
    public const int PublisherResumed = 4015;
    public const int PublisherLeftStream = 4016;
    public const int PublisherOtherSettings = 4017;

    // Notary: 4020
    public const int LedgerNotaryTroubled = 4020;
    public const int LedgerNotaryResumed = 4021;
    public const int LedgerNewStream = 4022;
    public const int LedgerGapAdmitted = 4023;
    public const int LedgerEndNotSigned = 4024;

    // Losses: 4030
    public const int LedgerNoLossPage = 4030;
    public const int LedgerLossPageDamaged = 4031;
    public const int LedgerLossPageNotDurable = 4032;
    public const int LedgerBacklogLost = 4033;

    // Privacy and archive: 4040
    public const int LedgerSubjectKeysNotDurable = 4040;
    public const int LedgerArchiveFailed = 4041;
    public const int LedgerActivationWithoutText = 4042;
}
